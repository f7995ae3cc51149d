//! Learning: a baseline from a kernel with arbitrary symbols, tables and type information.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watchdog_core::locate::{Finding, locate};
use watchdog_core::verify::{Baseline, Verifier};
use watchdog_fuzz::{Input, bounded, search};

fuzz_target!(|bytes: &[u8]| {
    let input = Input::decode(bytes);
    let memory = &input.memory;
    let found = locate(memory, &input.within, &search(), &mut |_, _| ());
    // A learned baseline does not depend on other kernels, so the first located kernel is enough.
    let located = found
        .expect("all that is searched can be read")
        .into_iter()
        .find_map(|it| if let Finding::Located(kernel) = it { Some(kernel) } else { None });
    let Some(kernel) = located else { return };
    let Ok(baseline) = bounded(|| Baseline::learn(memory, &kernel)) else { return };
    assert_eq!(baseline.reference.text.bytes.len() as u64, kernel.text.size);
    assert!(baseline.fits(&kernel), "it is not of the kernel that it was learned from");
    let swept = bounded(|| Verifier::new(baseline, &kernel).sweep(memory, &kernel, 8));
    swept.expect("a text that was read can be read again");
});
