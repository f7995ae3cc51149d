//! Whether a kernel with writable text has finished its boot.
//!
//! At the end of its boot, a kernel first frees its init memory, then write-protects its text, and
//! only then runs the first program (`kernel_init`, init/main.c, 5.10 to 7.2). With `rodata=off` the
//! text stays writable for good. The two differ in `system_state`, which is set last, in the init
//! memory, and in their age. `system_state` alone is not believed.

use super::Budget;
use super::bytes::{copy, u32_at, u64_at};
use super::facts::release_of;
use super::kallsyms::TableClaim;
use crate::memory::{Memory, PAGE_SIZE, PhysAddr, PhysRange};

/// `SYSTEM_RUNNING` (include/linux/kernel.h) since 5.16, which added `SYSTEM_FREEING_INITMEM`.
const RUNNING: u32 = 3;
/// The same before.
const RUNNING_BEFORE: u32 = 2;
const ADDED_IN: (u32, u32) = (5, 16);
/// The largest value, `SYSTEM_SUSPEND`.
const LAST: u32 = 7;
/// `jiffies_64` five minutes after the start, whatever HZ is (`INITIAL_JIFFIES`,
/// include/linux/jiffies.h).
const FIVE_MINUTES: u64 = 1 << 32;
/// Most pages of init text that are looked at. Distribution kernels have some 250.
const MAX_PAGES: u64 = 4096;

/// Whether the kernel at physical `text` has finished its boot. `false` if its memory does not show
/// it: a kernel without the symbols of data (`CONFIG_KALLSYMS_ALL`) counts as booting.
pub(super) fn is_over(
    memory: &dyn Memory,
    text: PhysAddr,
    table: &TableClaim,
    budget: &mut Budget,
) -> bool {
    let state = table.distances.state(text).and_then(|at| copy(memory, at, 4));
    let state = state.and_then(|bytes| u32_at(&bytes, 0));
    let running = match table.banner.as_deref().and_then(version) {
        Some(version) if version < ADDED_IN => RUNNING_BEFORE,
        _ => RUNNING,
    };
    let init = table.distances.init_text(text);
    let is_running = state.is_some_and(|state| (running..=LAST).contains(&state));
    let is_freed = init.is_some_and(|init| is_freed(memory, init, budget));
    let ticks = table.distances.ticks(text).and_then(|at| u64_at(&copy(memory, at, 8)?, 0));
    let is_old = ticks.is_some_and(|ticks| ticks >= FIVE_MINUTES);
    log::debug!(
        "text at {text}: system_state {state:?}, init text freed: {is_freed}, minutes of ticks: \
         {is_old}"
    );
    is_running && (is_freed || is_old)
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
