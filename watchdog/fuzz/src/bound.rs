//! How much work an input may cause, in bytes: those read from memory and those allocated.
//!
//! Both are the same at each run of an input, on every machine and however busy it is; seconds are
//! not. A loop that does neither is ended by libFuzzer's own limit, which is far longer than any
//! input takes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use watchdog_core::locate::Search;

/// The most work of one input: twice what the worst seeds cause, which have more signs to follow
/// than are followed.
const MOST: u64 = 400 << 20;

/// What was read and allocated so far.
static DONE: AtomicU64 = AtomicU64::new(0);

/// How inputs are searched: on one thread, as a watch searches.
#[must_use]
pub fn search() -> Search {
    Search { gentle: true, ..Search::default() }
}

/// Does what is fuzzed.
///
/// # Panics
/// When that is more than an input may cause.
pub fn bounded<T>(body: impl FnOnce() -> T) -> T {
    let before = DONE.load(Ordering::Relaxed);
    let result = body();
    let done = DONE.load(Ordering::Relaxed) - before;
    assert!(done <= MOST, "{done} bytes were read or allocated");
    result
}

/// Takes note of bytes that are read.
pub(crate) fn count(bytes: usize) {
    DONE.fetch_add(bytes as u64, Ordering::Relaxed);
}

/// The system's allocator, with note taken of what it allocates.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: all of it is the system's allocator's doing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps to the same contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps to the same contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller keeps to the same contract.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps to the same contract.
        unsafe { System.dealloc(at, layout) }
    }
}
