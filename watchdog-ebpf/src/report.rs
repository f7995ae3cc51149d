//! Reports attempts to the watchdog.

use aya_ebpf::helpers::bpf_probe_read_kernel_str_bytes;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, RingBuf};
use watchdog_common::{Attempt, EXE_NAMES, Range, action, path};

use crate::structures::{Cred, Dentry, File, Task};

/// The size of the ring buffer.
const BYTES: u32 = 512 << 10;
/// The last part of the buffer is reserved for attempts whose process was killed, so that a flood
/// of denied attempts cannot displace them.
const BYTES_FOR_KILLED: u32 = 64 << 10;
/// `BPF_RB_AVAIL_DATA` (include/uapi/linux/bpf.h): the number of bytes that wait for the reader.
const WAITING: u64 = 0;

/// Attempts, in order. A full buffer loses the newest ones. Losses are counted.
#[map]
static ATTEMPTS: RingBuf = RingBuf::with_byte_size(BYTES, 0);

/// All attempts, by path.
#[map]
static COUNTS: Array<u64> = Array::with_max_entries(path::COUNT, 0);

/// Attempts for which the ring buffer had no room, by path.
#[map]
static LOST: Array<u64> = Array::with_max_entries(path::COUNT, 0);

/// Attempts that the watchdog reported, by path. The watchdog stores these counts for the next
/// watchdog.
#[map]
static TOLD: Array<u64> = Array::with_max_entries(path::COUNT, 0);

/// Probes of the self-test that a program detected, by path.
#[map]
static PROOFS: Array<u64> = Array::with_max_entries(path::COUNT, 0);

/// Counts a probe.
#[inline(always)]
pub(crate) fn count_probe(path: u32) {
    count(PROOFS.get_ptr_mut(path));
}

/// Reports an attempt and the action that was taken.
#[inline(always)]
pub(crate) fn attempt(path: u32, aimed: Range, done: u8, detail: u32) {
    count(COUNTS.get_ptr_mut(path));
    let is_full =
        done != action::KILL && ATTEMPTS.query(WAITING) > (BYTES - BYTES_FOR_KILLED).into();
    let room = if is_full { None } else { ATTEMPTS.reserve::<Attempt>(0) };
    let Some(mut entry) = room else {
        count(LOST.get_ptr_mut(path));
        return;
    };
    let task = Task::current();
    let parent = task.parent();
    let attempt = entry.as_mut_ptr();
    // These are reads of fields, because some kinds of programs may not call the helpers for them.
    // SAFETY: `attempt` is the entry's own memory; every field is written before it is submitted.
    unsafe {
        (&raw mut (*attempt).range).write(aimed);
        (&raw mut (*attempt).path).write(path);
        (&raw mut (*attempt).action).write(done.into());
        (&raw mut (*attempt).tgid).write(task.tgid().unwrap_or_default());
        (&raw mut (*attempt).tid).write(task.pid().unwrap_or_default());
        (&raw mut (*attempt).uid).write(task.cred().and_then(Cred::uid).unwrap_or_default());
        (&raw mut (*attempt).parent).write(parent.and_then(Task::tgid).unwrap_or_default());
        (&raw mut (*attempt).detail).write(detail);
        (&raw mut (*attempt).comm).write(task.comm().unwrap_or_default());
        (&raw mut (*attempt).parent_comm).write(parent.and_then(Task::comm).unwrap_or_default());
        write_exe(attempt, task);
    }
    entry.submit(0);
}

/// Writes the names of an executable's path, so that an event has the path even if the process has
/// exited by then.
///
/// # Safety
/// `attempt` must be valid for writes.
#[inline(always)]
unsafe fn write_exe(attempt: *mut Attempt, task: Task) {
    let mut dentry = task.executable().and_then(File::dentry);
    let mut n = 0;
    while n < EXE_NAMES {
        // SAFETY: `n` is inside the array; the caller answers for the rest.
        let name = unsafe { &mut *(&raw mut (*attempt).exe[0]).add(n) };
        name[0] = 0;
        if let Some(from) = dentry.and_then(Dentry::name) {
            // SAFETY: the helper checks the address and bounds the copy by the slice.
            let _ = unsafe { bpf_probe_read_kernel_str_bytes(from.cast(), name) };
        }
        // The root is its own parent: nothing follows it.
        dentry = dentry.and_then(Dentry::parent).filter(|parent| Some(*parent) != dentry);
        n += 1;
    }
}

#[inline(always)]
pub(crate) fn count(counter: Option<*mut u64>) {
    if let Some(counter) = counter {
        // SAFETY: the map's own memory, aligned, and written only by such counting.
        unsafe { increment(counter) };
    }
}

/// Adds one atomically. `core` has no atomic addition for this target, because not every version of
/// it has all atomic instructions.
///
/// # Safety
/// `counter` must be valid and aligned.
#[cfg(target_arch = "bpf")]
#[inline(always)]
unsafe fn increment(counter: *mut u64) {
    // SAFETY: one atomic addition. The caller guarantees the memory.
    unsafe { core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) 1_u64) };
}

#[cfg(not(target_arch = "bpf"))]
unsafe fn increment(counter: *mut u64) {
    use core::sync::atomic::{AtomicU64, Ordering};
    // SAFETY: the caller answers for it.
    unsafe { AtomicU64::from_ptr(counter) }.fetch_add(1, Ordering::Relaxed);
}
