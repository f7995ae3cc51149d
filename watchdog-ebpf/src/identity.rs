//! Which files belong to the guard, and which processes it trusts.
//!
//! A process is trusted if it executed the watchdog's executable, which no process can write while
//! the guard is armed, and if its answers come from the kernel: it has no tracer and no seccomp
//! filter, which may answer system calls in the kernel's place. It is known by its address space,
//! at the time of the execution: `prctl(PR_SET_MM)` gives any process any executable, and a child
//! of that one has it as well.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap};
use watchdog_common::{FileKey, SIEVED, role};

use crate::kernel::{Object, current_task, field, offset};
use crate::rules;

/// Files and folders that belong to the guard, and what each is.
#[map]
static FILES: HashMap<FileKey, u32> = HashMap::with_max_entries(256, 0);

/// A byte for every value of the last bits of an inode's number: set where [`FILES`] or the lease
/// may have such a file. Almost every file is told by it to be none of them; a hash costs ten times
/// as much.
#[map]
static SIEVE: Array<[u8; SIEVED]> = Array::with_max_entries(1, 0);

/// Address spaces that execute the watchdog, or a leased executable, by `ctx_id`, which is never
/// used twice (`mm_context_t`, arch/x86/include/asm/mmu.h, 6.1 to 7.2); the value is their
/// `watchdog_common::role`. Those that are asked for stay.
#[map]
static EXECUTED: LruHashMap<u64, u32> = LruHashMap::with_max_entries(256, 0);

/// The watchdog's own address space, by the same number: whoever executes much pushes none out of
/// here.
#[map]
static SPACE: Array<u64> = Array::with_max_entries(1, 0);

/// `SECCOMP_MODE_DISABLED` (include/uapi/linux/seccomp.h).
const NO_FILTER: i32 = 0;

/// What a file is to the guard; 0 for nothing.
#[inline(always)]
pub(crate) fn kind(key: FileKey) -> u32 {
    if !may_be_known(&key) {
        return 0;
    }
    // SAFETY: entries are never removed; a value is one word.
    unsafe { FILES.get(key) }.copied().unwrap_or(0)
}

/// Whether a file may be known to the guard. It is not known for certain.
#[inline(always)]
pub(crate) fn may_be_known(key: &FileKey) -> bool {
    let Some(sieve) = SIEVE.get_ptr(0) else { return true };
    // SAFETY: inside the map's own memory.
    unsafe { core::ptr::read_volatile(sieve.cast::<u8>().add(key.sieved())) != 0 }
}

/// Takes note that a file is known to the guard from now on.
#[inline(always)]
pub(crate) fn mark(key: &FileKey) {
    if let Some(sieve) = SIEVE.get_ptr_mut(0) {
        // SAFETY: inside the map's own memory. A byte, which another processor's cannot undo.
        unsafe { core::ptr::write_volatile(sieve.cast::<u8>().add(key.sieved()), 1) };
    }
}

/// Whether the current process is trusted.
#[inline(always)]
pub(crate) fn is_trusted() -> bool {
    has_role(role::WATCHDOG)
}

/// Whether the current process has a role in the guard, and nobody speaks for it.
#[inline(always)]
pub(crate) fn has_role(wanted: u32) -> bool {
    let task = current_task();
    // Values, not whether there are any: the verifier knows no arithmetic with pointers.
    let role = role_of(address_space());
    if role == 0 || role != wanted {
        return false;
    }
    let filter = field::<i32>(task, offset!(task_seccomp)).unwrap_or(1);
    let tracer = field::<u32>(task, offset!(task_ptrace)).unwrap_or(1);
    filter == NO_FILTER && tracer == 0
}

/// The role of an address space; 0 for none.
#[inline(always)]
pub(crate) fn role_of(space: u64) -> u32 {
    // SAFETY: the map's own memory; one word of it.
    if space != 0 && SPACE.get_ptr(0).is_some_and(|own| unsafe { *own } == space) {
        return role::WATCHDOG;
    }
    // SAFETY: a value is one word.
    unsafe { EXECUTED.get(space) }.copied().unwrap_or(0)
}

/// Takes the role of an address space away.
#[inline(always)]
pub(crate) fn forget(space: u64) {
    let _ = EXECUTED.remove(space);
    // SAFETY: the map's own memory; one word of it.
    if let Some(own) = SPACE.get_ptr_mut(0).filter(|own| unsafe { **own } == space) {
        // SAFETY: as above.
        unsafe { *own = 0 };
    }
}

/// Whether the current process is one whose attempts on canaries are probes: one that is trusted,
/// or where nothing can be registered, for want of LSM programs, the watchdog that armed the guard.
#[inline(always)]
pub(crate) fn is_tester() -> bool {
    if rules::init_mnt_ns() != 0 {
        return is_trusted();
    }
    field(current_task(), offset!(task_tgid)) == Some(rules::watchdog())
}

/// The number of the current address space; 0, which none has, for a kernel thread.
#[inline(always)]
fn address_space() -> u64 {
    let mm = field::<Object>(current_task(), offset!(task_mm)).unwrap_or(core::ptr::null());
    field(mm, offset!(mm_context_id)).unwrap_or(0)
}

/// Takes note that a file belongs to the guard from now on.
#[inline(always)]
pub(crate) fn add_file(key: &FileKey, kind: u32) {
    mark(key);
    let _ = FILES.insert(key, kind, 0);
}

/// Takes note that the current process executes the watchdog or a leased executable from now on.
#[inline(always)]
pub(crate) fn add_executor(role: u32) {
    let _ = EXECUTED.insert(address_space(), role, 0);
}

/// Takes note that the current process is the watchdog that arms the guard.
#[inline(always)]
pub(crate) fn set_watchdog() {
    if let Some(own) = SPACE.get_ptr_mut(0) {
        // SAFETY: the map's own memory; one word of it.
        unsafe { *own = address_space() };
    }
}
