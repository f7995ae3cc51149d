//! The debug information of an image (DWARF). It must be read without a panic, and in bounded work.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watchdog_core::dwarf::Fields;
use watchdog_fuzz::{bounded, debug_info};

fuzz_target!(|bytes: &[u8]| {
    let _ = bounded(|| Fields::of(&debug_info::sections(bytes), |_| true));
});
