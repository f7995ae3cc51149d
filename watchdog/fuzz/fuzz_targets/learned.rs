//! Learning: a baseline from a kernel whose symbols, tables and type information are anything.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watchdog_core::locate::{Finding, locate};
use watchdog_core::verify::{Baseline, Verifier};
use watchdog_fuzz::{Input, bounded, search};

fuzz_target!(|bytes: &[u8]| {
    let input = Input::decode(bytes);
    let memory = &input.memory;
    let found = locate(memory, &input.within, &search(), &mut |_, _| ());
    // What is learned of one kernel does not depend on another.
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
