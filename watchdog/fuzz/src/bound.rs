//! Bounds the work that an input may cause: the bytes read from memory plus the bytes allocated.
//!
//! Both are the same in every run of an input, on every machine and under any load. Seconds are
//! not. libFuzzer's own time limit ends a loop that neither reads nor allocates. That limit is far
//! longer than any input takes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use watchdog_core::locate::Search;

/// Largest amount of work for one input: twice that of the worst seeds. These contain more signs
/// than a search follows.
const MOST: u64 = 400 << 20;

/// Bytes that were read or allocated so far.
static DONE: AtomicU64 = AtomicU64::new(0);

/// The options of a search: one thread, as in a watch.
#[must_use]
pub fn search() -> Search {
    Search { gentle: true, ..Search::default() }
}

/// Runs the code under test.
///
/// # Panics
/// When the work exceeds the bound.
pub fn bounded<T>(body: impl FnOnce() -> T) -> T {
    let before = DONE.load(Ordering::Relaxed);
    let result = body();
    let done = DONE.load(Ordering::Relaxed) - before;
    assert!(done <= MOST, "{done} bytes were read or allocated");
    result
}

/// Counts bytes that are read or allocated.
pub(crate) fn count(bytes: usize) {
    DONE.fetch_add(bytes as u64, Ordering::Relaxed);
}

/// The system's allocator. It also counts the bytes that it allocates.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: the system's allocator does all the work.
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
