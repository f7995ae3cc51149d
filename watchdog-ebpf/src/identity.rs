//! The files that belong to the guard, and the processes that it trusts.
//!
//! A process is trusted if it executed the watchdog's executable, which no process can write while
//! the guard is armed. It must have no tracer and no seccomp filter, because these can answer
//! system calls in place of the kernel. The process is identified by its address space at the time
//! of the execution. The executable of a process is not enough: `prctl(PR_SET_MM)` can set any
//! executable, and a child inherits it.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap};
use watchdog_common::{FileKey, SIEVED, file_kind, role};

use crate::rules;
use crate::structures::{Mm, Task};

/// Files and folders that belong to the guard, and the kind of each.
#[map]
static FILES: HashMap<FileKey, u32> = HashMap::with_max_entries(256, 0);

/// One byte for each value of the low bits of an inode number. It is set if [`FILES`] or the lease
/// may have such a file. This rules out almost every file at a tenth of the cost of a hash.
#[map]
static SIEVE: Array<[u8; SIEVED]> = Array::with_max_entries(1, 0);

/// Address spaces that execute the watchdog or a leased executable. The key is `ctx_id`, which is
/// never used twice (`mm_context_t`, arch/x86/include/asm/mmu.h, 6.1 to 7.2). The value is a
/// `watchdog_common::role`. A full table drops entries that no program looked up for a long time.
#[map]
static EXECUTED: LruHashMap<u64, u32> = LruHashMap::with_max_entries(256, 0);

/// The watchdog's own address space, by the same number. Many executions cannot displace it.
#[map]
static SPACE: Array<u64> = Array::with_max_entries(1, 0);

/// The number of no address space: that of a kernel thread, which has none.
const NO_SPACE: u64 = 0;
/// `SECCOMP_MODE_DISABLED` (include/uapi/linux/seccomp.h).
const NO_FILTER: i32 = 0;

/// The kind of a file: one of `watchdog_common::file_kind`.
#[inline(always)]
pub(crate) fn kind(key: FileKey) -> u32 {
    if !may_be_known(&key) {
        return file_kind::NONE;
    }
    // SAFETY: entries are never removed; a value is one word.
    unsafe { FILES.get(key) }.copied().unwrap_or(file_kind::NONE)
}

/// Whether the guard may know a file. Only `false` is certain.
#[inline(always)]
pub(crate) fn may_be_known(key: &FileKey) -> bool {
    let Some(sieve) = SIEVE.get_ptr(0) else { return true };
    // SAFETY: inside the map's own memory.
    unsafe { core::ptr::read_volatile(sieve.cast::<u8>().add(key.sieved())) != 0 }
}

/// Marks a file as known to the guard.
#[inline(always)]
pub(crate) fn mark(key: &FileKey) {
    if let Some(sieve) = SIEVE.get_ptr_mut(0) {
        // SAFETY: inside the map's own memory. It writes one byte, so it cannot undo a write of
        // another processor to a neighbour.
        unsafe { core::ptr::write_volatile(sieve.cast::<u8>().add(key.sieved()), 1) };
    }
}

/// Whether the current process is trusted.
#[inline(always)]
pub(crate) fn is_trusted() -> bool {
    has_role(role::WATCHDOG)
}

/// Whether the current process has this role, and neither a tracer nor a seccomp filter.
#[inline(always)]
pub(crate) fn has_role(wanted: u32) -> bool {
    let task = Task::current();
    // This compares values and no `Option`s: the verifier allows no arithmetic with pointers.
    let role = role_of(number_of(task.mm()));
    if role == role::NONE || role != wanted {
        return false;
    }
    task.seccomp_mode() == Some(NO_FILTER) && !task.may_be_traced()
}

/// The role of an address space, by its number: one of `watchdog_common::role`.
#[inline(always)]
pub(crate) fn role_of(space: u64) -> u32 {
    // SAFETY: the map's own memory; one word of it.
    if space != NO_SPACE && SPACE.get_ptr(0).is_some_and(|own| unsafe { *own } == space) {
        return role::WATCHDOG;
    }
    // SAFETY: a value is one word.
    unsafe { EXECUTED.get(space) }.copied().unwrap_or(role::NONE)
}

/// Removes the role of an address space.
#[inline(always)]
pub(crate) fn forget(space: u64) {
    let _ = EXECUTED.remove(space);
    // SAFETY: the map's own memory; one word of it.
    if let Some(own) = SPACE.get_ptr_mut(0).filter(|own| unsafe { **own } == space) {
        // SAFETY: as above.
        unsafe { *own = NO_SPACE };
    }
}

/// Whether attempts of the current process on canaries are probes. The process must be trusted.
/// Without LSM programs no process can be registered, so then it must be the watchdog that armed
/// the guard.
#[inline(always)]
pub(crate) fn is_tester() -> bool {
    if rules::has_lsm() { is_trusted() } else { is_watchdog(Task::current()) }
}

/// Whether a task is one of the watchdog's threads.
#[inline(always)]
pub(crate) fn is_watchdog(task: Task) -> bool {
    task.tgid() == Some(rules::watchdog())
}

/// The number of an address space.
#[inline(always)]
pub(crate) fn number_of(mm: Option<Mm>) -> u64 {
    mm.and_then(Mm::context_id).unwrap_or(NO_SPACE)
}

/// Registers a file that belongs to the guard.
#[inline(always)]
pub(crate) fn add_file(key: &FileKey, kind: u32) {
    mark(key);
    let _ = FILES.insert(key, kind, 0);
}

/// Registers that the current process executes the watchdog or a leased executable.
#[inline(always)]
pub(crate) fn add_executor(role: u32) {
    let _ = EXECUTED.insert(number_of(Task::current().mm()), role, 0);
}

/// Registers the current process as the watchdog that arms the guard.
#[inline(always)]
pub(crate) fn set_watchdog() {
    if let Some(own) = SPACE.get_ptr_mut(0) {
        // SAFETY: the map's own memory; one word of it.
        unsafe { *own = number_of(Task::current().mm()) };
    }
}
