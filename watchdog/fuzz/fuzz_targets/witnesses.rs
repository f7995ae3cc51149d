//! Witnesses that are one record each: VMCOREINFO, and the kernel's entry among its resources.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watchdog_core::locate::{Budget, iomem, vmcoreinfo};
use watchdog_fuzz::{Input, bounded};

fuzz_target!(|bytes: &[u8]| {
    let input = Input::decode(bytes);
    let notes: Vec<_> = bounded(|| {
        input.pages().filter_map(|(_, page)| Some((vmcoreinfo::claim(&page)?, page))).collect()
    });
    for (claim, page) in notes {
        assert!(vmcoreinfo::looks_like_note(&page), "{claim:?} of what is not a note");
        assert!((1..=64).contains(&claim.release.chars().count()), "{claim:?}");
        let is_lower_hex = |id: &String| id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        assert!(claim.build_id.as_ref().is_none_or(is_lower_hex), "{claim:?}");
    }
    // `IORESOURCE_BUSY | IORESOURCE_SYSTEM_RAM` (include/linux/ioport.h).
    let mut resources = input.places(|word| word == 0x8100_0200);
    // A search for kernels follows this many.
    resources.truncate(1024);
    let mut budget = Budget::for_memory(input.within.size());
    let claims: Vec<_> = bounded(|| {
        let claim = |at: &_| iomem::claim(&input.memory, *at, &mut budget);
        resources.iter().filter_map(claim).collect()
    });
    for claim in claims {
        assert!(claim.phys.0 != 0 && claim.phys.0.is_multiple_of(2 << 20), "{claim:?}");
        assert!((1..=1 << 30).contains(&claim.size), "{claim:?}");
        assert!(claim.virt.0.is_multiple_of(2 << 20), "{claim:?}");
    }
});
