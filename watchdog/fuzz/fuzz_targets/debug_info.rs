//! The debug information of an image (DWARF).
#![no_main]

use libfuzzer_sys::fuzz_target;
use watchdog_core::btf::ANY_SIZE;
use watchdog_core::dwarf::{Fields, WANTED};
use watchdog_fuzz::{bounded, debug_info};

fuzz_target!(|bytes: &[u8]| {
    let fields = bounded(|| Fields::of(&debug_info::sections(bytes), |_| true));
    for (structure, paths) in WANTED {
        for path in paths {
            let offset = fields.offset(structure, path, ANY_SIZE);
            let of_word = fields.offset(structure, path, 8);
            assert!(of_word.is_none() || of_word == offset, "{structure}.{path}");
        }
    }
});
