//! Judging: a kernel with arbitrary text, state and lists of tracers.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use watchdog_core::memory::{Memory, PAGE_SIZE, PhysAddr};
use watchdog_core::verify::judge::{Expected, State, TextJudge};
use watchdog_core::verify::reference::{Layouts, Reference};
use watchdog_fuzz::suspect::{PHYS, SUSPECT};
use watchdog_fuzz::{bounded, check};

fuzz_target!(|bytes: &[u8]| {
    let input = SUSPECT.with(bytes);
    bounded(|| check::judged(&input));

    // As in a kernel that is patching itself: each page is read right before it is judged. The
    // kernel describes the structures of its lists, or does not.
    let distance = SUSPECT.kernel.text.virt.0 - SUSPECT.baseline.reference.link_address;
    let described = (*SUSPECT.baseline.reference).clone();
    let undescribed = Reference { layouts: Layouts::default(), ..described.clone() };
    for reference in [described, undescribed] {
        let mut judge = TextJudge::new(Expected::of(reference, distance));
        let pages: BTreeSet<usize> = (0..SUSPECT.text.len() / PAGE_SIZE as usize).collect();
        let read = |page: usize| {
            let mut bytes = vec![0; PAGE_SIZE as usize];
            input.memory.read(PhysAddr(PHYS + page as u64 * PAGE_SIZE), &mut bytes).ok()?;
            Some(bytes)
        };
        for _ in 0..2 {
            let state = State::of(&input.memory, &SUSPECT.kernel);
            let none = BTreeSet::new();
            let opinion = bounded(|| judge.judge(&pages, &none, &state, &mut { read }));
            assert!(opinion.wrong.is_sorted_by_key(|wrong| wrong.at), "{:?}", opinion.wrong);
            let places: usize = opinion.causes.iter().map(|(_, count)| *count as usize).sum();
            assert_eq!(opinion.instrumented.len(), places, "{:?}", opinion.causes);
        }
    }
});
