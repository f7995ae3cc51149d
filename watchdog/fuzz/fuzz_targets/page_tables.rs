//! Page tables: makes a claim from each page that looks like one, and checks the text of a claim
//! again.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use watchdog_core::locate::{Budget, Finding, Kernel, Recheck, Text, locate, page_tables, recheck};
use watchdog_core::memory::Memory;
use watchdog_fuzz::made_up::kernel;
use watchdog_fuzz::{Input, bounded, search};

/// A located kernel. Claims replace its text and its page tables.
static KERNEL: LazyLock<Kernel> = LazyLock::new(|| {
    let input = Input::decode(&kernel().finish());
    let found = locate(&input.memory, &input.within, &search(), &mut |_, _| ());
    match found.expect("all of it can be read").remove(0) {
        Finding::Located(kernel) => *kernel,
        other => panic!("the made-up kernel is {other:?}"),
    }
});

fuzz_target!(|bytes: &[u8]| {
    let input = Input::decode(bytes);
    let memory = &input.memory;
    let tables = input.pages().filter(|(_, page)| page_tables::looks_like_level3(page));
    let mut budget = Budget::for_memory(input.within.size());
    let mut claims = bounded(|| {
        let claims =
            tables.take(1024).filter_map(|(at, _)| page_tables::claim(memory, at, &mut budget));
        claims.collect::<Vec<_>>()
    });
    // The watchdog checks only located kernels again, so one claim is enough.
    claims.truncate(1);
    for claim in claims {
        assert!(claim.text.executable && matches!(claim.tables.levels, 4 | 5), "{claim:?}");
        let text = Text { phys: claim.text.phys, virt: claim.text.virt, size: claim.text.size };
        let page_tables::Tables { root: page_table_root, levels: paging_levels, encryption } =
            claim.tables;
        let kernel = Kernel { text, page_table_root, paging_levels, encryption, ..KERNEL.clone() };
        let again = bounded(|| recheck(memory, &kernel));
        let same = matches!(again, Ok(Recheck::Same { .. }));
        assert!(same || !memory.is_still(), "claimed {claim:?}, and then {again:?}");

        let frames = claim.text.frames().expect("text without frames");
        let size = memory.ranges().size();
        let aliases = bounded(|| page_tables::aliases(memory, &claim.tables, frames, size));
        for run in aliases.runs {
            let part = run.frames().and_then(|part| part.intersection(&frames));
            assert_eq!(part, run.frames(), "{run:?} is not of {frames}");
            assert!(run.writable || run.user, "{run:?} is harmless");
        }
    }
});
