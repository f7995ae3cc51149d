//! The search for kernels, with everything it reads: page tables, kallsyms, VMCOREINFO, resources.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watchdog_core::locate::locate;
use watchdog_fuzz::{Input, bounded, check, search};

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::decode(bytes);
    // The search for words that advance takes seconds, and reads as much as time allows.
    input.memory.set_at_rest();
    let found = bounded(|| locate(&input.memory, &input.within, &search(), &mut |_, _| ()));
    check::findings(&input, &found.expect("all that is searched can be read"));
});
