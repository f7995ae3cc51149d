//! The tables of kallsyms, at any place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watchdog_core::locate::{Budget, kallsyms};
use watchdog_fuzz::{Input, bounded};

fuzz_target!(|bytes: &[u8]| {
    let input = Input::decode(bytes);
    let starts = |word: u64| {
        let [first, second, third, fourth] = [0, 16, 32, 48].map(|shift| word >> shift & 0xffff);
        first == 0 && second > 1 && second < third && third < fourth
    };
    let mut indexes = input.places(starts);
    // A search for kernels follows this many.
    indexes.truncate(1024);
    let mut budget = Budget::for_memory(input.within.size());
    let claims: Vec<_> = bounded(|| {
        let claim = |at: &_| kallsyms::claim(&input.memory, *at, &mut budget);
        indexes.iter().filter_map(claim).collect()
    });
    for claim in claims {
        assert!(claim.size > 0 && (claim.phys.is_some() || claim.virt.is_some()), "{claim:?}");
        if let Some((phys, image)) = claim.phys.and_then(|phys| Some((phys, claim.image(phys)?))) {
            assert!(claim.size <= image.size() && image.contains(phys), "text out of {image:?}");
        }
        let banner = claim.banner.as_deref();
        assert!(banner.is_none_or(|it| it.starts_with("Linux version ")), "banner: {banner:?}");
        let text = claim.symbols.address("_stext").expect("no text");
        assert!(claim.symbols.lookup(text).is_some(), "no symbol at {text}");
    }
});
