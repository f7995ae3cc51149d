//! Attempts on their way to the watchdog.

use aya_ebpf::helpers::bpf_probe_read_kernel_str_bytes;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, RingBuf};
use watchdog_common::{Attempt, EXE_NAMES, Range, action, path};

use crate::kernel::{Object, current_task, field, offset};

/// Room for attempts.
const BYTES: u32 = 512 << 10;
/// The last of it is for those that ended a process: none of them shall drown in a flood of what
/// was merely refused.
const BYTES_FOR_KILLED: u32 = 64 << 10;
/// `BPF_RB_AVAIL_DATA` (include/uapi/linux/bpf.h): how much waits to be read.
const WAITING: u64 = 0;

/// Attempts, in order. A full buffer loses the newest; losses are counted.
#[map]
static ATTEMPTS: RingBuf = RingBuf::with_byte_size(BYTES, 0);

/// All attempts, by path.
#[map]
static COUNTS: Array<u64> = Array::with_max_entries(path::COUNT, 0);

/// Those for which the ring buffer had no room.
#[map]
static LOST: Array<u64> = Array::with_max_entries(path::COUNT, 0);

/// Those that were reported, as the watchdog keeps it here: what a next one has to make good.
#[map]
static TOLD: Array<u64> = Array::with_max_entries(path::COUNT, 0);

/// The self-test's probes that a program saw, by path.
#[map]
static PROOFS: Array<u64> = Array::with_max_entries(path::COUNT, 0);

/// Counts a probe.
#[inline(always)]
pub(crate) fn count_probe(path: u32) {
    count(PROOFS.get_ptr_mut(path));
}

/// Reports an attempt and what was done about it.
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
    let task = current_task();
    let parent = field::<Object>(task, offset!(task_parent)).unwrap_or(core::ptr::null());
    let cred = field::<Object>(task, offset!(task_cred)).unwrap_or(core::ptr::null());
    let attempt = entry.as_mut_ptr();
    // Read by field, since not every kind of program may call the helpers for it.
    // SAFETY: `attempt` is the entry's own memory; every field is written before it is submitted.
    unsafe {
        (&raw mut (*attempt).range).write(aimed);
        (&raw mut (*attempt).path).write(path);
        (&raw mut (*attempt).action).write(done.into());
        (&raw mut (*attempt).tgid).write(field(task, offset!(task_tgid)).unwrap_or_default());
        (&raw mut (*attempt).tid).write(field(task, offset!(task_pid)).unwrap_or_default());
        (&raw mut (*attempt).uid).write(field(cred, offset!(cred_uid)).unwrap_or_default());
        (&raw mut (*attempt).parent).write(field(parent, offset!(task_tgid)).unwrap_or_default());
        (&raw mut (*attempt).detail).write(detail);
        (&raw mut (*attempt).comm).write(field(task, offset!(task_comm)).unwrap_or_default());
        (&raw mut (*attempt).parent_comm)
            .write(field(parent, offset!(task_comm)).unwrap_or_default());
        write_exe(attempt, task);
    }
    entry.submit(0);
}

/// Writes the names of the current executable's path. A process that is gone by the time the
/// watchdog looks into /proc is named all the same.
///
/// # Safety
/// `attempt` must be valid for writes.
#[inline(always)]
unsafe fn write_exe(attempt: *mut Attempt, task: Object) {
    let mut dentry = field::<Object>(task, offset!(task_mm))
        .and_then(|mm| field::<Object>(mm, offset!(mm_exe_file)))
        .and_then(|file| field::<Object>(file, offset!(file_dentry)))
        .unwrap_or(core::ptr::null());
    let mut n = 0;
    while n < EXE_NAMES {
        // SAFETY: `n` is inside the array; the caller answers for the rest.
        let name = unsafe { &mut *(&raw mut (*attempt).exe[0]).add(n) };
        name[0] = 0;
        if let Some(from) = field::<*const u8>(dentry, offset!(dentry_name)) {
            // SAFETY: the helper checks the address by itself and bounds the copy by the slice.
            let _ = unsafe { bpf_probe_read_kernel_str_bytes(from, name) };
        }
        let parent = field::<Object>(dentry, offset!(dentry_parent)).unwrap_or(core::ptr::null());
        // The root is its own parent: nothing follows it.
        dentry = if parent == dentry { core::ptr::null() } else { parent };
        n += 1;
    }
}

#[inline(always)]
pub(crate) fn count(counter: Option<*mut u64>) {
    if let Some(counter) = counter {
        // SAFETY: the map's own memory, aligned, which nothing but such counting writes to.
        unsafe { increment(counter) };
    }
}

/// Adds one, whoever else does at the same time: `core` has no such thing for this target, since
/// not every processor has all of what it would be made of.
///
/// # Safety
/// `counter` must be valid and aligned.
#[cfg(target_arch = "bpf")]
#[inline(always)]
unsafe fn increment(counter: *mut u64) {
    // SAFETY: one atomic addition to memory that the caller answers for.
    unsafe { core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) 1_u64) };
}

#[cfg(not(target_arch = "bpf"))]
unsafe fn increment(counter: *mut u64) {
    use core::sync::atomic::{AtomicU64, Ordering};
    // SAFETY: the caller answers for it.
    unsafe { AtomicU64::from_ptr(counter) }.fetch_add(1, Ordering::Relaxed);
}
