//! Data that one program saves for another. It is bound to the thread and the file, used once, and
//! valid only until the thread gives up its processor. A call without such data is refused: the
//! thread should try again, and is denied if that does not help.
//!
//! If the kernel returns between the two programs, no program takes what was saved. The thread's
//! next call does not use it either, because that call saves again. The kernel skips a program only
//! on a processor that it took from another thread inside the same program. So this thread got the
//! processor after it saved, and its count of switches is not the saved one.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{HashMap, LruHashMap};

use crate::arguments::FileArgument;
use crate::structures::Task;

/// The number of threads that can be between two programs at a time. A full table saves nothing,
/// which fails closed.
const THREADS: u32 = 4096;

/// How often a thread may try again if nothing is saved. If the kernel skips a program, that lasts
/// until another thread gets the processor back: at most a few slices of the scheduler (3 ms each).
/// If nothing is ever saved, the tries must end.
const TRIES: u32 = 1 << 16;

/// The position and size of a write.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Saved {
    file: u64,
    /// Byte position.
    pub(crate) at: u64,
    /// Bytes.
    pub(crate) bytes: u64,
    /// How often the thread had given up its processor.
    switches: u64,
}

/// The programs' knowledge about a call.
pub(crate) enum Call {
    Known(Saved),
    /// The thread gave up its processor since, or the kernel skipped the program that saves. The
    /// next try may succeed.
    Again,
    /// The thread tried often enough.
    Unknown,
}

/// Saved data by thread. A full table drops nothing: otherwise a thread that is preempted during a
/// read could read the entry of another thread.
#[map]
static WRITES: HashMap<u64, Saved> = HashMap::with_max_entries(THREADS, 0);

/// How often in a row nothing was saved, by thread. A dropped count starts again at one.
#[map]
static TRIED: LruHashMap<u64, u32> = LruHashMap::with_max_entries(THREADS, 0);

/// Saves the position and size for the current thread.
#[inline(always)]
pub(crate) fn save(file: FileArgument, at: u64, bytes: u64) {
    let saved = Saved { file: file.address(), at, bytes, switches: switches() };
    let _ = WRITES.insert(bpf_get_current_pid_tgid(), saved, 0);
}

/// Takes the data that the current thread saved for its call with a file.
#[inline(always)]
pub(crate) fn take(file: FileArgument) -> Call {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: only this thread's own programs touch its entry.
    let saved = unsafe { WRITES.get(thread) }.copied();
    let _ = WRITES.remove(thread);
    match saved.filter(|saved| saved.file == file.address()) {
        Some(saved) if saved.switches == switches() => {
            let _ = TRIED.remove(thread);
            Call::Known(saved)
        }
        Some(_) => Call::Again,
        None => nothing(thread),
    }
}

/// Counts a call of a thread for which nothing was saved.
#[inline(always)]
fn nothing(thread: u64) -> Call {
    // SAFETY: one word, a count in every entry.
    let tries = unsafe { TRIED.get(thread) }.copied().unwrap_or(0).saturating_add(1);
    let is_counted = tries <= TRIES && TRIED.insert(thread, tries, 0).is_ok();
    if is_counted { Call::Again } else { Call::Unknown }
}

/// How often the current thread gave up its processor, or the kernel took the processor away.
#[inline(always)]
fn switches() -> u64 {
    let task = Task::current();
    let voluntary = task.voluntary_switches().unwrap_or(0);
    voluntary.wrapping_add(task.involuntary_switches().unwrap_or(0))
}
