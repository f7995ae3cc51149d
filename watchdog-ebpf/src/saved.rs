//! What one program saves for another: bound to the thread and the file, consumed once, cleared
//! on the way out. What is missing or of another file is not known, and not known is denied.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;

use crate::kernel::Object;

/// Threads that can be between two programs at a time. A full table saves nothing: closed.
const THREADS: u32 = 4096;

/// Where and how much a call is about.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Saved {
    file: u64,
    pub(crate) at: u64,
    pub(crate) bytes: u64,
}

/// Writes: byte position and count.
#[map]
static WRITES: HashMap<u64, Saved> = HashMap::with_max_entries(THREADS, 0);
/// Mappings: page offset and length in bytes.
#[map]
static MAPPINGS: HashMap<u64, Saved> = HashMap::with_max_entries(THREADS, 0);

/// Which of the two.
#[derive(Clone, Copy)]
pub(crate) enum Call {
    Write,
    Mapping,
}

#[inline(always)]
fn table(call: Call) -> &'static HashMap<u64, Saved> {
    match call {
        Call::Write => &WRITES,
        Call::Mapping => &MAPPINGS,
    }
}

/// Saves for the current thread.
#[inline(always)]
pub(crate) fn save(call: Call, file: Object, at: u64, bytes: u64) {
    let saved = Saved { file: file as u64, at, bytes };
    let _ = table(call).insert(bpf_get_current_pid_tgid(), saved, 0);
}

/// Takes what the current thread saved for this file.
#[inline(always)]
pub(crate) fn take(call: Call, file: Object) -> Option<Saved> {
    let thread = bpf_get_current_pid_tgid();
    let table = table(call);
    // SAFETY: only this thread's own programs touch its entry.
    let saved = unsafe { table.get(thread) }.copied();
    clear(call);
    saved.filter(|saved| saved.file == file as u64)
}

/// Forgets what the current thread saved.
#[inline(always)]
pub(crate) fn clear(call: Call) {
    let _ = table(call).remove(bpf_get_current_pid_tgid());
}
