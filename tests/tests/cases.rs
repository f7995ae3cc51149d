//! Each case of the library `watchdog_tests::cases` with each kernel, as a separate test:
//! `6.12 guard: reading stays allowed`.

use std::env;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use watchdog_tests::cases::{self, Case, Kernels};
use xtask::kernels;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let kernels = env::var("WATCHDOG_KERNELS").unwrap_or_else(|_| kernels::VERSIONS.join(","));
    let kernels: Vec<String> = kernels.split(',').map(str::to_owned).collect();
    // Ordered by case and not by kernel, so that machines of all kernels are made at the same time.
    let trials = cases::all().into_iter().flat_map(|case| trials(case, &kernels));
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// Returns the trials of a case: one for each of these kernels on which the case runs.
fn trials(case: Case, kernels: &[String]) -> impl Iterator<Item = Trial> {
    let stable = kernels.iter().position(|it| it == kernels::STABLE).unwrap_or_default();
    let kernels = match case.kernels {
        Kernels::Each => kernels,
        Kernels::One => kernels.get(stable..=stable).unwrap_or_default(),
    };
    kernels.iter().map(move |kernel| {
        let (kernel, case) = (kernel.clone(), case);
        let name = format!("{kernel} {}", case.name);
        let play = move || case.play(&kernel).map_err(|error| format!("{error:#}").into());
        Trial::test(name, play).with_ignored_flag(true)
    })
}
