//! Properties that every result must have, whatever the memory holds.

use watchdog_core::locate::{Finding, Kernel};
use watchdog_core::memory::{Memory, PAGE_SIZE, PhysAddr, PhysRange};

use watchdog_core::verify::{Sweep, Verdict};

use crate::Input;
use crate::suspect::{SUSPECT, VIRT};

/// `__START_KERNEL_map` (arch/x86/include/asm/page_64_types.h).
const IMAGE_MAPPING: u64 = 0xffff_ffff_8000_0000;

/// Checks what was found in an input's memory.
///
/// # Panics
/// When a finding is not sound.
pub fn findings(input: &Input, findings: &[Finding]) {
    let places: Vec<_> = findings.iter().filter_map(Finding::text_address).collect();
    assert!(places.is_sorted(), "not in ascending order of text address: {places:?}");
    for finding in findings {
        match finding {
            Finding::Located(kernel) => located(input, kernel),
            Finding::Booting(lost) | Finding::Lost(lost) => {
                assert!(!lost.reason.is_empty(), "lost for no reason: {lost:?}");
            }
        }
    }
}

/// Checks a kernel that is reported as located.
fn located(input: &Input, kernel: &Kernel) {
    let text = kernel.text;
    let frames = PhysRange::with_size(text.phys, text.size).expect("the text has no extent");
    assert!(input.within.covers(&frames), "the text {frames} is not in {}", input.within);
    assert!(text.phys.0.is_multiple_of(PAGE_SIZE), "the text starts inside a page");
    assert!(text.virt.0.is_multiple_of(PAGE_SIZE), "the text starts inside a page");
    assert!(text.virt.0 >= IMAGE_MAPPING, "the text is not in the image mapping");
    assert!(text.virt.checked_add(text.size).is_some(), "the text ends outside of it");
    let last = PhysAddr(frames.end().0 - 1);
    assert!(kernel.image.contains(text.phys) && kernel.image.contains(last), "text out of image");
    let root = PhysRange::with_size(kernel.page_table_root, PAGE_SIZE).expect("no root");
    assert!(root.start().0.is_multiple_of(PAGE_SIZE), "the root starts inside a page");
    assert!(input.memory.ranges().covers(&root), "the root is not in memory");
    assert!(matches!(kernel.paging_levels, 4 | 5), "{} levels", kernel.paging_levels);
    assert!(kernel.banner.starts_with("Linux version "), "banner: {}", kernel.banner);
    assert!(kernel.witnesses.len() >= 2, "too few witnesses: {:?}", kernel.witnesses);
    assert!(kernel.witnesses.iter().all(|witness| witness.agrees), "{:?}", kernel.witnesses);
}

/// Judges the suspect twice, with an input written over it, and checks the results. Returns the
/// last.
///
/// # Panics
/// When a result is not sound. It must report every changed byte that no rule covers and no
/// legitimate cause explains.
pub fn judged(input: &Input) -> Option<Sweep> {
    let mut verifier = SUSPECT.verifier.clone();
    let mut last = None;
    for _ in 0..2 {
        let swept = verifier.sweep(&input.memory, &SUSPECT.kernel, usize::MAX).ok()?;
        let reported = &swept.unexplained;
        assert_eq!(reported.len(), swept.unexplained_total, "not everything is reported");
        let verdict = swept.verdict;
        assert_eq!(
            verdict == Verdict::Tampered,
            !reported.is_empty(),
            "{verdict} with {reported:x?}"
        );
        if input.memory.is_still() {
            let places = verifier.instrumented(&SUSPECT.kernel).chain(reported.iter().cloned());
            let mut explained = SUSPECT.sites.clone();
            for place in places {
                let start = (place.virt.0 - VIRT) as usize;
                let end = (start + place.found.len()).min(explained.len());
                explained.get_mut(start..end).into_iter().for_each(|part| part.fill(true));
            }
            let mut live = vec![0; SUSPECT.text.len()];
            input.memory.read(SUSPECT.kernel.text.phys, &mut live).ok()?;
            let bytes = SUSPECT.text.iter().zip(&live).zip(&explained);
            let passed_over =
                bytes.enumerate().find(|(_, ((a, b), reported))| a != b && !**reported);
            assert!(passed_over.is_none(), "passed over: {passed_over:x?}");
            let clean = live == SUSPECT.text && reported.is_empty() && swept.causes.is_empty();
            assert_eq!(verdict == Verdict::Clean, clean, "{verdict}");
        }
        verifier.patched(&SUSPECT.kernel).for_each(drop);
        last = Some(swept);
    }
    last
}
