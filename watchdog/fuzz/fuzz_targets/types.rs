//! Type information (BTF) from a node's memory, and lookups in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watchdog_core::btf::{ANY_SIZE, Btf};
use watchdog_core::verify::reference::Layouts;
use watchdog_fuzz::bounded;

/// Names that are looked up. The seeds contain them.
const NAMES: [&str; 6] = ["file", "module", "twice", "reason", "rw_verify_area", "loop"];
const FIELDS: [&str; 4] = ["f_path.dentry", "name", "raw", "x"];

fuzz_target!(|bytes: &[u8]| {
    bounded(|| {
        let _ = Layouts::of_btf(bytes.to_vec());
        let Ok(btf) = Btf::parse(bytes.to_vec()) else { return };
        for name in NAMES {
            for field in FIELDS {
                let _ = btf.offset(name, field, ANY_SIZE);
            }
            for parameter in 0..4 {
                let target = btf.points_to(name, parameter).unwrap_or(b"some");
                assert!(!target.is_empty() && !target.contains(&0), "{target:?}");
            }
            let of_one = (0..4).filter(|count| btf.check_function(name, *count).is_ok()).count();
            assert!(of_one <= 1, "{name} takes {of_one} numbers of parameters");
            let _ = (btf.structure(name), btf.check_size(name, 64), btf.enumerator(name, "KEXEC"));
        }
    });
});
