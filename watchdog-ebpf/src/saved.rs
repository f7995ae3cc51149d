//! What one program saves for another: bound to the thread and the file, consumed once, and good only
//! until the thread gives its processor up. What is missing, of another file or older is not known, and
//! not known is denied.
//!
//! The kernel may return between the two programs, and what was saved is not taken then. It cannot speak
//! for the thread's next call: that saves anew. A program is skipped only on a processor that was taken
//! from another thread in the midst of the same program, so that this thread must have been given the
//! processor since it saved.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;

use crate::kernel::{Object, current_task, field, offset};

/// Threads that can be between two programs at a time. A full table saves nothing: closed.
const THREADS: u32 = 4096;

/// Where and how much a write is about.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Saved {
    file: u64,
    /// Byte position.
    pub(crate) at: u64,
    /// Bytes.
    pub(crate) bytes: u64,
    /// How often the thread had given its processor up.
    switches: u64,
}

#[map]
static WRITES: HashMap<u64, Saved> = HashMap::with_max_entries(THREADS, 0);

/// Saves for the current thread.
#[inline(always)]
pub(crate) fn save(file: Object, at: u64, bytes: u64) {
    let saved = Saved { file: file as u64, at, bytes, switches: switches() };
    let _ = WRITES.insert(bpf_get_current_pid_tgid(), saved, 0);
}

/// Takes what the current thread saved for this file, and whether that is known to be for this call:
/// not if the thread gave its processor up since.
#[inline(always)]
pub(crate) fn take(file: Object) -> Option<(Saved, bool)> {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: only this thread's own programs touch its entry.
    let saved = unsafe { WRITES.get(thread) }.copied();
    let _ = WRITES.remove(thread);
    let saved = saved.filter(|saved| saved.file == file as u64)?;
    Some((saved, saved.switches == switches()))
}

/// How often the current thread gave its processor up, or had it taken.
#[inline(always)]
fn switches() -> u64 {
    let task = current_task();
    let count = |offset| field::<u64>(task, offset).unwrap_or(0);
    count(offset!(task_switches)).wrapping_add(count(offset!(task_preemptions)))
}
