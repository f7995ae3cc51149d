//! Denials on their way to the watchdog.

use aya_ebpf::helpers::{
    bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
    bpf_probe_read_kernel_str_bytes, generated::bpf_get_current_task_btf,
};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray, RingBuf};
use watchdog_common::{Attempt, EXE_NAMES, Range, path};

use crate::judge;
use crate::kernel::{Object, field, offsets};

/// Attempts, in order. A full buffer loses the newest; losses are counted.
#[map]
static ATTEMPTS: RingBuf = RingBuf::with_byte_size(512 << 10, 0);

/// Attempts for which the ring buffer had no room.
#[map]
static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The watchdog's own denied attempts on the decoy, by path: the proof that the guard bites.
#[map]
static PROOFS: Array<u64> = Array::with_max_entries(path::COUNT, 0);

/// Reports a denial: a proof is counted, everything else goes to the ring buffer.
#[inline(always)]
pub(crate) fn denied(path: u32, aimed: Range, decoy: bool) {
    let ids = bpf_get_current_pid_tgid();
    let tgid = (ids >> 32) as u32;
    if decoy && tgid == judge::watchdog() {
        count(PROOFS.get_ptr_mut(path));
        return;
    }
    let Some(mut entry) = ATTEMPTS.reserve::<Attempt>(0) else {
        count(LOST.get_ptr_mut(0));
        return;
    };
    let attempt = entry.as_mut_ptr();
    // SAFETY: `attempt` is the entry's own memory; every field is written before it is submitted.
    unsafe {
        (&raw mut (*attempt).range).write(aimed);
        (&raw mut (*attempt).path).write(path);
        (&raw mut (*attempt).tgid).write(tgid);
        (&raw mut (*attempt).tid).write(ids as u32);
        (&raw mut (*attempt).uid).write(bpf_get_current_uid_gid() as u32);
        (&raw mut (*attempt).comm).write(bpf_get_current_comm().unwrap_or_default());
        write_exe(attempt);
    }
    entry.submit(0);
}

/// Writes the names of the current executable's path. A process that is gone by the time the
/// watchdog looks into /proc is named all the same.
///
/// # Safety
/// `attempt` must be valid for writes.
#[inline(always)]
unsafe fn write_exe(attempt: *mut Attempt) {
    let offsets = offsets();
    // SAFETY: the helper takes nothing and returns the current task.
    let task = unsafe { bpf_get_current_task_btf() } as Object;
    let mut dentry = field::<Object>(task, offsets.task_mm)
        .and_then(|mm| field::<Object>(mm, offsets.mm_exe_file))
        .and_then(|file| field::<Object>(file, offsets.file_dentry))
        .unwrap_or(core::ptr::null());
    let mut n = 0;
    while n < EXE_NAMES {
        // SAFETY: `n` is inside the array; the caller answers for the rest.
        let name = unsafe { &mut *(&raw mut (*attempt).exe[0]).add(n) };
        name[0] = 0;
        if let Some(from) = field::<*const u8>(dentry, offsets.dentry_name) {
            // SAFETY: the helper checks the address by itself and bounds the copy by the slice.
            let _ = unsafe { bpf_probe_read_kernel_str_bytes(from, name) };
        }
        let parent = field::<Object>(dentry, offsets.dentry_parent).unwrap_or(core::ptr::null());
        // The root is its own parent: nothing follows it.
        dentry = if parent == dentry { core::ptr::null() } else { parent };
        n += 1;
    }
}

#[inline(always)]
fn count(counter: Option<*mut u64>) {
    if let Some(counter) = counter {
        // SAFETY: the map's own memory; per CPU, or written by one process at a time.
        unsafe { *counter = (*counter).wrapping_add(1) };
    }
}
