//! The rules, as the loader wrote them: the protected memory, and the policy of each path.

use watchdog_common::{
    ENUM_VALUES, HELPERS, MAX_RANGES, PROCESSOR_WORDS, Range, Rules, SCHEDULERS, action, path,
};

/// Filled in by the loader and frozen.
#[unsafe(no_mangle)]
static RULES: Rules = Rules::EMPTY;

/// A pointer to the frozen rules. They are too large to copy.
#[inline(always)]
pub(crate) fn rules() -> *const Rules {
    &raw const RULES
}

/// The watchdog's process id.
#[inline(always)]
pub(crate) fn watchdog() -> u32 {
    // SAFETY: a static of this program.
    unsafe { core::ptr::read_volatile(&raw const (*rules()).watchdog) }
}

/// Whether LSM programs fire.
#[inline(always)]
pub(crate) fn has_lsm() -> bool {
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(&raw const (*rules()).has_lsm) != 0 }
}

/// The number of the mount namespace whose mounts are protected.
#[inline(always)]
pub(crate) fn init_mnt_ns() -> u32 {
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(&raw const (*rules()).init_mnt_ns) }
}

/// The policy of a path: one of `watchdog_common::action`.
#[inline(always)]
pub(crate) fn policy(path: u32) -> u8 {
    // A path is a constant of this program, or comes from a table of bytes, so it is checked here.
    if path >= path::COUNT {
        return action::OFF;
    }
    // SAFETY: inside the array, which is in a static of this program.
    unsafe { core::ptr::read_volatile((&raw const (*rules()).policy[0]).add(path as usize)) }
}

/// Whether the policy of a path is not `off`.
#[inline(always)]
pub(crate) fn is_on(path: u32) -> bool {
    policy(path) != action::OFF
}

/// Whether policy denies accesses on a path.
#[inline(always)]
pub(crate) fn refuses(path: u32) -> bool {
    policy(path) >= action::DENY
}

/// One of the other nodes' ranges. They are ascending. Unused entries follow them and are empty.
#[inline(always)]
pub(crate) fn range(n: usize) -> Range {
    // SAFETY: inside the array, which is in a static of this program.
    unsafe { core::ptr::read_volatile((&raw const (*rules()).ranges[0]).add(n % MAX_RANGES)) }
}

/// Tables for the kernel's enumerations that distinguish paths.
#[derive(Clone, Copy)]
pub(crate) enum Table {
    Lockdown,
    ReadFile,
    LoadData,
    ProgramTypes,
    AttachTypes,
}

/// The entry of the rules for a value of an enumeration: its path, or for BPF programs one of
/// `watchdog_common::bpf_use`.
#[inline(always)]
pub(crate) fn entry(table: Table, value: u32) -> Option<u32> {
    let index = value as usize;
    if index >= ENUM_VALUES {
        return None;
    }
    // SAFETY: inside the array, which is in a static of this program.
    let entry = unsafe {
        let first = match table {
            Table::Lockdown => &raw const (*rules()).lockdown[0],
            Table::ReadFile => &raw const (*rules()).read_file[0],
            Table::LoadData => &raw const (*rules()).load_data[0],
            Table::ProgramTypes => &raw const (*rules()).program_types[0],
            Table::AttachTypes => &raw const (*rules()).attach_types[0],
        };
        core::ptr::read_volatile(first.add(index))
    };
    if entry == Rules::NO_ENTRY { None } else { Some(entry.into()) }
}

/// The BTF type of a structure with which a program schedules processes, or `Rules::NO_TYPE`.
#[inline(always)]
pub(crate) fn scheduler(n: usize) -> u32 {
    // SAFETY: inside the array, which is in a static of this program.
    unsafe { core::ptr::read_volatile((&raw const (*rules()).schedulers[0]).add(n % SCHEDULERS)) }
}

/// The number in an instruction that calls a refused helper, or `Rules::NO_HELPER`.
#[inline(always)]
pub(crate) fn helper(n: usize) -> i32 {
    // SAFETY: inside the array, which is in a static of this program.
    unsafe { core::ptr::read_volatile((&raw const (*rules()).helpers[0]).add(n % HELPERS)) }
}

/// Whether a processor may be started, by its number.
#[inline(always)]
pub(crate) fn may_start(number: u32) -> bool {
    let word = number as usize / 64;
    if word >= PROCESSOR_WORDS {
        return false;
    }
    // SAFETY: inside the array, which is in a static of this program.
    let bits = unsafe { core::ptr::read_volatile((&raw const (*rules()).processors[0]).add(word)) };
    bits >> (number % 64) & 1 != 0
}
