//! What one program saves for another: bound to the thread and the file, consumed once, and good
//! only until the thread gives its processor up. What is missing, of another file or older is not
//! known, and not known is refused: the call is to be tried again, and denied when that does not
//! help.
//!
//! The kernel may return between the two programs, and what was saved is not taken then. It cannot
//! speak for the thread's next call: that saves anew. A program is skipped only on a processor that
//! was taken from another thread in the midst of the same program, so that this thread must have
//! been given the processor since it saved.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{HashMap, LruHashMap};

use crate::kernel::{Object, current_task, field, offset};

/// Threads that can be between two programs at a time. A full table saves nothing: closed.
const THREADS: u32 = 4096;

/// How often a thread is told to try again where nothing is saved. On a kernel that skips programs
/// this lasts until another thread gets the processor back, some scheduler's slices (3 ms) of such
/// tries at most; where nothing is ever saved a program that tries for ever must come to an end.
const TRIES: u32 = 1 << 16;

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

/// What is known of a call.
pub(crate) enum Call {
    Known(Saved),
    /// The thread gave its processor up since, or the kernel skipped the program that saves: the
    /// next try may be known.
    Again,
    /// It was tried often enough.
    Unknown,
}

/// By thread. Not one that drops what is old: the place of a thread that is preempted while it
/// reads would be another one's, and so would be what it reads.
#[map]
static WRITES: HashMap<u64, Saved> = HashMap::with_max_entries(THREADS, 0);

/// How often in a row nothing was saved, by thread. A count that is dropped begins at one.
#[map]
static TRIED: LruHashMap<u64, u32> = LruHashMap::with_max_entries(THREADS, 0);

/// Saves for the current thread.
#[inline(always)]
pub(crate) fn save(file: Object, at: u64, bytes: u64) {
    let saved = Saved { file: file as u64, at, bytes, switches: switches() };
    let _ = WRITES.insert(bpf_get_current_pid_tgid(), saved, 0);
}

/// Takes what the current thread saved for its call with this file.
#[inline(always)]
pub(crate) fn take(file: Object) -> Call {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: only this thread's own programs touch its entry.
    let saved = unsafe { WRITES.get(thread) }.copied();
    let _ = WRITES.remove(thread);
    match saved.filter(|saved| saved.file == file as u64) {
        Some(saved) if saved.switches == switches() => {
            let _ = TRIED.remove(thread);
            Call::Known(saved)
        }
        Some(_) => Call::Again,
        None => nothing(thread),
    }
}

/// Counts that nothing was saved for a thread's call.
#[inline(always)]
fn nothing(thread: u64) -> Call {
    // SAFETY: one word, which whoever takes the entry's place does not make a position.
    let tries = unsafe { TRIED.get(thread) }.copied().unwrap_or(0).saturating_add(1);
    let is_counted = tries <= TRIES && TRIED.insert(thread, tries, 0).is_ok();
    if is_counted { Call::Again } else { Call::Unknown }
}

/// How often the current thread gave its processor up, or had it taken.
#[inline(always)]
fn switches() -> u64 {
    let task = current_task();
    let count = |offset| field::<u64>(task, offset).unwrap_or(0);
    count(offset!(task_switches)).wrapping_add(count(offset!(task_preemptions)))
}
