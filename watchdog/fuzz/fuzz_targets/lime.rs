//! LiME images: their headers, and reads that follow them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watchdog_core::memory::Dump;
use watchdog_fuzz::{bounded, dump};

fuzz_target!(|bytes: &[u8]| {
    let path = dump::file(bytes);
    bounded(|| {
        if let Ok(opened) = Dump::open_lime(&path) {
            dump::check(&opened, bytes.len());
        }
    });
});
