//! Whether a kernel with writable text has finished its boot.
//!
//! At the end of its boot, a kernel first frees its init memory, then write-protects its text, and
//! only then runs the first program (`kernel_init`, init/main.c, 5.10 to 7.2). With `rodata=off`
//! the text stays writable for good. The two differ in `system_state`, which is set last, in the
//! init memory, and in their age. `system_state` alone is not believed. A kernel whose table does
//! not name it (`CONFIG_KALLSYMS_ALL`) protects its text a tenth of a second after it freed that
//! memory, so a second look tells.

use std::thread;
use std::time::Duration;

use super::Budget;
use super::bytes::{copy, u32_at, u64_at};
use super::facts::release_of;
use super::kallsyms::TableClaim;
use super::page_tables::{MappingClaim, executable, image_runs};
use crate::memory::{Memory, PAGE_SIZE, PhysAddr, PhysRange};

/// `SYSTEM_RUNNING` (include/linux/kernel.h) since 5.16, which added `SYSTEM_FREEING_INITMEM`.
const RUNNING: u32 = 3;
/// The same before.
const RUNNING_BEFORE: u32 = 2;
const ADDED_IN: (u32, u32) = (5, 16);
/// The largest value, `SYSTEM_SUSPEND`.
const LAST: u32 = 7;
/// Time to the second look, and its cost in bytes examined, so that decoys cause few.
const SECOND_LOOK: Duration = Duration::from_secs(2);
const LOOK_COST: usize = 64 << 20;
/// `jiffies_64` five minutes after the start, whatever HZ is (`INITIAL_JIFFIES`,
/// include/linux/jiffies.h).
const FIVE_MINUTES: u64 = 1 << 32;
/// Most pages of init text that are looked at. Distribution kernels have some 250.
const MAX_PAGES: u64 = 4096;

/// Whether the kernel with this mapping has finished its boot. `false` if its memory does not show
/// it.
pub(super) fn is_over(
    memory: &dyn Memory,
    mapping: &MappingClaim,
    table: &TableClaim,
    budget: &mut Budget,
) -> bool {
    let text = mapping.text.phys;
    let state = table.distances.state(text).and_then(|at| copy(memory, at, 4));
    let state = state.and_then(|bytes| u32_at(&bytes, 0));
    let running = match table.banner.as_deref().and_then(version) {
        Some(version) if version < ADDED_IN => RUNNING_BEFORE,
        _ => RUNNING,
    };
    let init = table.distances.init_text(text);
    let is_freed = init.is_some_and(|init| is_freed(memory, init, budget));
    let ticks = table.distances.ticks(text).and_then(|at| u64_at(&copy(memory, at, 8)?, 0));
    let is_old = ticks.is_some_and(|ticks| ticks >= FIVE_MINUTES);
    log::debug!(
        "text at {text}: system_state {state:?}, init text freed: {is_freed}, minutes of ticks: \
         {is_old}"
    );
    match state {
        Some(state) => (running..=LAST).contains(&state) && (is_freed || is_old),
        None => is_freed && stays_writable(memory, mapping, budget),
    }
}

/// Whether the text is still mapped writable a while later. Memory at rest does not change.
fn stays_writable(memory: &dyn Memory, mapping: &MappingClaim, budget: &mut Budget) -> bool {
    if memory.is_at_rest() {
        return true;
    }
    if budget.spend(LOOK_COST).is_none() {
        return false;
    }
    thread::sleep(SECOND_LOOK);
    let runs = image_runs(memory, &mapping.tables).unwrap_or_default();
    executable(&runs).iter().any(|run| run.phys == mapping.text.phys && run.writable)
}

/// Whether init text was freed. Freed pages are filled with one byte (`free_init_pages`,
/// arch/x86/mm/init.c), and code never fills a page so. The pages are soon used for something else,
/// so one page is enough.
fn is_freed(memory: &dyn Memory, init: PhysRange, budget: &mut Budget) -> bool {
    let first = PhysAddr(init.start().0.next_multiple_of(PAGE_SIZE));
    let pages = init.end().checked_sub(first).unwrap_or_default() / PAGE_SIZE;
    (0..pages.min(MAX_PAGES)).any(|n| {
        let at = first.checked_add(n.saturating_mul(PAGE_SIZE));
        let page = at.and_then(|at| {
            budget.spend(PAGE_SIZE as usize)?;
            copy(memory, at, PAGE_SIZE as usize)
        });
        page.is_some_and(|page| {
            page.first().is_some_and(|first| page.iter().all(|byte| byte == first))
        })
    })
}

/// Major and minor version, from the banner.
fn version(banner: &str) -> Option<(u32, u32)> {
    let mut numbers = release_of(banner)?.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::page_tables;
    use super::super::tests::made_up::*;
    use super::*;

    /// Check that a text which is protected at the second look does not stay writable, and that a
    /// second look is paid for.
    #[test]
    fn second_look() {
        let machine = Machine::with(FIRST);
        for page in 0..512 {
            machine.entry(FIRST.level1(), page, (FIRST.text + page * PAGE) | (RW & !NX));
        }
        let budget = || Budget::for_memory(RAM as u64);
        let mapping = page_tables::claim(&machine, PhysAddr(FIRST.level3()), &mut budget());
        let mapping = mapping.unwrap();
        assert!(mapping.text.writable && stays_writable(&machine, &mapping, &mut budget()));
        machine.entry(FIRST.level1(), 0, FIRST.text | RX);
        assert!(!stays_writable(&machine, &mapping, &mut budget()));
        let mut spent = Budget::with_left(LOOK_COST as u64 - 1);
        assert!(!stays_writable(&machine, &mapping, &mut spent) && spent.is_exhausted());
    }
}
