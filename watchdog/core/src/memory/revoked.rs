//! Copying from a mapping that may be taken away.
//!
//! When somebody claims memory for a driver, or adds it to this kernel's own, the kernel revokes
//! every mapping of `/dev/mem` there (`revoke_iomem()`, kernel/resource.c, 5.10 to 7.2): the next
//! access is a SIGBUS, which would end the watchdog. A file that is cut off does the same.

use std::cell::Cell;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering, compiler_fence};

/// Pages are put in place of those that are gone.
const PAGE: usize = 4096;

/// The copy that a thread is at: where it reads, and what to set when anything there is gone.
#[derive(Clone, Copy)]
struct Current {
    start: usize,
    end: usize,
    is_gone: *const AtomicBool,
}

const NONE: Current = Current { start: 0, end: 0, is_gone: ptr::null() };

thread_local! {
    // Constant and without a destructor: the handler may look at it at any moment.
    static CURRENT: Cell<Current> = const { Cell::new(NONE) };
}

/// Copies `to.len()` bytes at `from`, of a mapping that `is_gone` belongs to. When that is set
/// afterwards, by this thread or another one, what was copied is worth nothing, and the mapping has
/// pages of zeros.
///
/// # Safety
/// The bytes must lie in a mapping that stays until the end of the call and that nothing else than
/// such copies reads.
pub(super) unsafe fn copy(from: *const u8, to: &mut [u8], is_gone: &AtomicBool) {
    static HANDLER: Once = Once::new();
    HANDLER.call_once(install);
    let start = from as usize;
    CURRENT.set(Current { start, end: start.saturating_add(to.len()), is_gone });
    compiler_fence(Ordering::SeqCst);
    // SAFETY: the caller answers for the source, which another kernel may change under the copy;
    // the buffer is ours alone.
    unsafe { ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) };
    compiler_fence(Ordering::SeqCst);
    CURRENT.set(NONE);
}

/// Has SIGBUS come to [`handle`].
fn install() {
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = handle;
    // SAFETY: all zeros is a valid `sigaction`; the handler has the form that SA_SIGINFO wants.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut());
    }
}

/// Puts a page of zeros where a copy found none, so that it can go on. Any other SIGBUS ends the
/// process, as it would have. Calls only what may be called in a signal handler.
extern "C" fn handle(_signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives a valid record.
    let at = unsafe { (*info).si_addr() } as usize;
    let current = CURRENT.get();
    if (current.start..current.end).contains(&at) {
        // Set before there are zeros that another thread might copy.
        // SAFETY: `copy` borrows it until it is over.
        unsafe { (*current.is_gone).store(true, Ordering::SeqCst) };
        let page = (at & !(PAGE - 1)) as *mut libc::c_void;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        // SAFETY: replaces a page of the mapping that `copy` was given, which nothing else reads.
        let mapped = unsafe { libc::mmap(page, PAGE, libc::PROT_READ, flags, -1, 0) };
        if mapped == page {
            return;
        }
    }
    // SAFETY: has the next SIGBUS, which follows at once, end the process.
    unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
}
