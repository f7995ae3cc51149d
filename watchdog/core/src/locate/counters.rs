//! Signs of life of a kernel whose symbol table names no clock: words of its data that advance.
//!
//! Without `CONFIG_KALLSYMS_ALL` no symbol leads to a clock. Its clocks are still in its image, and
//! advance: `jiffies_64`, the timekeeper's sequence, counts of interrupts. They are found by
//! looking at the image several times. In memory at rest nothing advances, so that nothing is
//! known.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use super::bytes::{copy, u64_at};
use super::pulse::{COUNTERS, is_step};
use super::{Finding, Kernel};
use crate::memory::{Memory, PAGE_SIZE, PhysAddr};

/// Most kernels whose counters are searched for in one search.
const MAX_KERNELS: usize = 4;
/// Bytes behind the text that are looked at. The data of distribution kernels takes some 40 MiB.
const MAX_DATA: u64 = 128 << 20;
/// Time between two looks, and for all looks at a kernel. An idle kernel may sleep for a second.
const STEP: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_secs(2);
/// How often a word must advance.
const ADVANCES: u32 = 3;
/// Most words that are followed at once.
const MAX_FOLLOWED: usize = 4096;

/// Finds the counters of the located kernels without a clock.
pub(super) fn find_missing(memory: &dyn Memory, findings: &mut [Finding]) {
    if memory.is_at_rest() {
        return;
    }
    let kernels = findings.iter_mut().filter_map(|finding| match finding {
        Finding::Located(kernel) if !kernel.pulse.has_clock() => Some(kernel),
        _ => None,
    });
    for kernel in kernels.take(MAX_KERNELS) {
        let found = counters(memory, kernel);
        log::debug!("text at {}: {} words of its data advance", kernel.text.phys, found.len());
        kernel.pulse.add_counters(found);
    }
}

/// Words of a kernel's data that advance as a counter does, at most [`COUNTERS`].
fn counters(memory: &dyn Memory, kernel: &Kernel) -> Vec<PhysAddr> {
    let Some(start) = kernel.text.phys.checked_add(kernel.text.size) else { return Vec::new() };
    let start = PhysAddr(start.0.next_multiple_of(PAGE_SIZE));
    let end = PhysAddr(start.0.saturating_add(MAX_DATA)).min(kernel.image.end());
    let pages = end.checked_sub(start).unwrap_or_default() / PAGE_SIZE;
    let page = |n: u64| {
        let at = start.checked_add(n.saturating_mul(PAGE_SIZE))?;
        Some((at, copy(memory, at, PAGE_SIZE as usize)?))
    };
    let mut data: BTreeMap<PhysAddr, Vec<u8>> = (0..pages).filter_map(page).collect();
    let mut followed: BTreeMap<PhysAddr, u32> = BTreeMap::new();
    let begun = Instant::now();
    while begun.elapsed() < TIMEOUT {
        thread::sleep(STEP);
        for (at, before) in &mut data {
            let Some(now) = copy(memory, *at, PAGE_SIZE as usize) else { continue };
            if now != *before {
                follow(*at, before, &now, &mut followed);
                *before = now;
            }
        }
        let ready = followed.values().filter(|advances| **advances >= ADVANCES).count();
        if ready >= COUNTERS {
            break;
        }
    }
    // The steadiest first: a clock advances at every look.
    let mut found: Vec<_> = followed.into_iter().collect();
    found.retain(|(_, advances)| *advances >= ADVANCES);
    found.sort_by_key(|(_, advances)| Reverse(*advances));
    found.into_iter().take(COUNTERS).map(|(at, _)| at).collect()
}

/// Counts how often words of a changed page advanced in a row.
fn follow(at: PhysAddr, before: &[u8], now: &[u8], followed: &mut BTreeMap<PhysAddr, u32>) {
    for offset in (0..now.len()).step_by(8) {
        let words = u64_at(before, offset).zip(u64_at(now, offset));
        let Some((then, value)) = words.filter(|(then, value)| then != value) else { continue };
        let Some(place) = at.checked_add(offset as u64) else { continue };
        let is_step = is_step(value.wrapping_sub(then));
        let is_known = followed.contains_key(&place);
        if !is_known && (!is_step || followed.len() >= MAX_FOLLOWED) {
            continue;
        }
        let advances = followed.entry(place).or_default();
        *advances = if is_step { advances.saturating_add(1) } else { 0 };
    }
}
