//! The guard's own: which files, tables and programs belong to it, and who may touch them.
//!
//! Trusted is who executed the watchdog's executable, which nobody can write while the guard is
//! armed, and whose answers come from the kernel: no tracer and no seccomp filter, which may answer
//! system calls in the kernel's place. It is known by its address space, at the time it is executed:
//! `prctl(PR_SET_MM)` gives any process any executable, and a child of that one has it as well.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap};
use watchdog_common::{FileKey, SIEVED, State, file_kind, part};

use crate::kernel::{Object, current_task, field, file_key, offset};
use crate::{judge, lease, report};

/// Files and folders that belong to the guard, and what each is.
#[map]
static FILES: HashMap<FileKey, u32> = HashMap::with_max_entries(256, 0);

/// A byte for every value of the last bits of an inode's number: set where [`FILES`] or the lease may
/// have such a file. Almost every file is told by it to be none of them; a hash costs ten times as much.
#[map]
static SIEVE: Array<[u8; SIEVED]> = Array::with_max_entries(1, 0);

/// Whether the guard may be taken down, and what user space keeps about it.
#[map]
static STATE: Array<State> = Array::with_max_entries(1, 0);

/// Address spaces that execute the watchdog, or a leased executable, by `ctx_id`, which is never used
/// twice (`mm_context_t`, arch/x86/include/asm/mmu.h, 6.1 to 7.2); the value is their
/// `watchdog_common::part`. Those that are asked for stay.
#[map]
static EXECUTED: LruHashMap<u64, u32> = LruHashMap::with_max_entries(256, 0);

/// The watchdog's own address space, by the same number: whoever executes much pushes none out of here.
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

/// Whether only who is trusted may write a file, by what it and its folder are.
#[inline(always)]
pub(crate) fn is_kept(file: FileKey, folder: u32) -> bool {
    folder == file_kind::KEPT
        || matches!(kind(file), file_kind::EXECUTABLE | file_kind::KEPT)
        || lease::is_executable(file)
}

/// Whether a file is one whose processes nobody may trace.
#[inline(always)]
pub(crate) fn is_executable(key: FileKey) -> bool {
    kind(key) == file_kind::EXECUTABLE || lease::is_executable(key)
}

/// Whether the current process is trusted.
#[inline(always)]
pub(crate) fn is_trusted() -> bool {
    has_part(part::WATCHDOG)
}

/// Whether the current process has a part in the guard, and nobody speaks for it.
#[inline(always)]
pub(crate) fn has_part(wanted: u32) -> bool {
    let task = current_task();
    // Values, not whether there are any: the verifier knows no arithmetic with pointers.
    let part = part_of(address_space());
    if part == 0 || part != wanted {
        return false;
    }
    let filter = field::<i32>(task, offset!(task_seccomp)).unwrap_or(1);
    let tracer = field::<u32>(task, offset!(task_ptrace)).unwrap_or(1);
    filter == NO_FILTER && tracer == 0
}

/// The part in the guard of an address space; 0 for none.
#[inline(always)]
pub(crate) fn part_of(space: u64) -> u32 {
    // SAFETY: the map's own memory; one word of it.
    if space != 0 && SPACE.get_ptr(0).is_some_and(|own| unsafe { *own } == space) {
        return part::WATCHDOG;
    }
    // SAFETY: a value is one word.
    unsafe { EXECUTED.get(space) }.copied().unwrap_or(0)
}

/// Has an address space no part any more.
#[inline(always)]
pub(crate) fn forget(space: u64) {
    let _ = EXECUTED.remove(space);
    // SAFETY: the map's own memory; one word of it.
    if let Some(own) = SPACE.get_ptr_mut(0).filter(|own| unsafe { **own } == space) {
        // SAFETY: as above.
        unsafe { *own = 0 };
    }
}

/// Whether the current process is one whose attempts on decoys are the proof: who is trusted, or
/// where nothing can be learned, for want of LSM programs, the watchdog that armed the guard.
#[inline(always)]
pub(crate) fn is_prover() -> bool {
    if judge::mounts() != 0 {
        return is_trusted();
    }
    field(current_task(), offset!(task_tgid)) == Some(judge::watchdog())
}

/// The number of the current address space; 0, which none has, for a kernel thread.
#[inline(always)]
fn address_space() -> u64 {
    let mm = field::<Object>(current_task(), offset!(task_mm)).unwrap_or(core::ptr::null());
    field(mm, offset!(mm_context_id)).unwrap_or(0)
}

/// The file that the current process executes.
#[inline(always)]
fn executable() -> FileKey {
    let mm = field::<Object>(current_task(), offset!(task_mm)).unwrap_or(core::ptr::null());
    file_key(field(mm, offset!(mm_exe_file)).unwrap_or(core::ptr::null()))
}

/// Takes note that the current process executes a file from now on.
#[inline(always)]
pub(crate) fn executes(file: Object) {
    let key = file_key(file);
    let part = match kind(key) {
        file_kind::EXECUTABLE => Some(part::WATCHDOG),
        _ => lease::part_of(key),
    };
    if let Some(part) = part {
        let _ = EXECUTED.insert(address_space(), part, 0);
    }
}

/// Whether the guard may be taken down by who is trusted.
#[inline(always)]
pub(crate) fn is_released() -> bool {
    // SAFETY: the map's own memory; one word of it.
    STATE.get_ptr(0).is_some_and(|state| unsafe { (*state).released } != 0)
}

/// Whether the current process is trusted, and it is the time for the next watchdog to open `/dev/mem`
/// for writing.
#[inline(always)]
pub(crate) fn may_open() -> bool {
    // SAFETY: the map's own memory; one word of it.
    let opens = STATE.get_ptr(0).is_some_and(|state| unsafe { (*state).opens } != 0);
    opens && is_trusted()
}

/// Takes up a file that the watchdog opens, when it says that those are the guard's.
#[inline(always)]
pub(crate) fn learn(file: Object) {
    let Some(state) = STATE.get_ptr(0) else { return };
    // SAFETY: the map's own memory; one word of it.
    let kind = unsafe { (*state).learning };
    if kind == 0 || field(current_task(), offset!(task_tgid)) != Some(judge::watchdog()) {
        return;
    }
    let key = file_key(file);
    // Whatever is mounted over `/proc`, by which it is opened: it is the one that runs.
    if kind == file_kind::EXECUTABLE && key != executable() {
        return;
    }
    if key.inode != 0 {
        mark(&key);
        let _ = FILES.insert(key, kind, 0);
    }
    if kind == file_kind::EXECUTABLE
        && let Some(own) = SPACE.get_ptr_mut(0)
    {
        // SAFETY: the map's own memory; one word of it.
        unsafe { *own = address_space() };
    }
}

/// Whether the current process is process 1, which starts and stops services.
#[inline(always)]
pub(crate) fn is_init() -> bool {
    field(current_task(), offset!(task_tgid)) == Some(1_u32)
}

/// Decides about something that only who is trusted may do. By the watchdog itself at a decoy it
/// is the proof.
#[inline(always)]
pub(crate) fn reserve(detail: u32, is_decoy: bool) -> i32 {
    if !is_trusted() {
        return judge::own(detail);
    }
    if !is_decoy {
        return 0;
    }
    report::prove(watchdog_common::path::OWN);
    -judge::EPERM
}
