//! Each case of the library `watchdog_tests::cases` with each of its kernels, as a separate test:
//! `6.12 guard: reading stays allowed`.

use std::env;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use watchdog_tests::cases::{self, Case};
use xtask::kernels;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let kernels = env::var("WATCHDOG_KERNELS").unwrap_or_else(|_| kernels::VERSIONS.join(","));
    let kernels: Vec<&str> = kernels.split(',').collect();
    let every = env::var("WATCHDOG_EVERY_KERNEL").is_ok_and(|value| value == "true");
    // Ordered by case and not by kernel, so that machines of all kernels are made at the same time.
    let trials = cases::all().into_iter().flat_map(|case| trials(case, &kernels, every));
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// Returns the trials of a case: one for each of these kernels on which it runs.
fn trials(case: Case, kernels: &[&str], every: bool) -> impl Iterator<Item = Trial> {
    let count = kernels.len();
    let runs = move |&(number, _): &(usize, _)| every || case.kernels.include(number, count);
    kernels.iter().enumerate().filter(runs).map(move |(_, kernel)| {
        let kernel = (*kernel).to_owned();
        let name = format!("{kernel} {}", case.name);
        let play = move || case.play(&kernel).map_err(|error| format!("{error:#}").into());
        Trial::test(name, play).with_ignored_flag(true)
    })
}
