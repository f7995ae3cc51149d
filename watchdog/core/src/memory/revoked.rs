//! Copies from a mapping that the kernel may revoke.
//!
//! When a driver claims memory, or the kernel adds it to its own RAM, the kernel revokes every
//! mapping of `/dev/mem` there (`revoke_iomem()`, kernel/resource.c, 5.10 to 7.2). The next access
//! raises SIGBUS, which would end the watchdog. A file that is truncated has the same effect.

use std::cell::Cell;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering, compiler_fence};

/// Size of the pages that replace revoked ones.
const PAGE: usize = 4096;

/// The current copy of a thread: its source, and the flag to set if a page of the source is gone.
#[derive(Clone, Copy)]
struct Current {
    start: usize,
    end: usize,
    is_gone: *const AtomicBool,
}

const NONE: Current = Current { start: 0, end: 0, is_gone: ptr::null() };

thread_local! {
    // Constant and without a destructor: the signal handler may read it at any moment.
    static CURRENT: Cell<Current> = const { Cell::new(NONE) };
}

/// Copies `to.len()` bytes at `from`. `is_gone` is the flag of the mapping that holds them.
///
/// If the flag is set afterwards, by this thread or another one, the copied bytes are invalid. The
/// mapping then has pages of zeros in place of the revoked ones.
///
/// # Safety
/// The bytes must lie in a mapping that stays until the end of the call. Nothing but such copies
/// may read that mapping.
pub(super) unsafe fn copy(from: *const u8, to: &mut [u8], is_gone: &AtomicBool) {
    static HANDLER: Once = Once::new();
    HANDLER.call_once(install);
    let start = from as usize;
    CURRENT.set(Current { start, end: start.saturating_add(to.len()), is_gone });
    compiler_fence(Ordering::SeqCst);
    // SAFETY: the caller guarantees the source, which another kernel may change during the copy.
    // The buffer is exclusively ours.
    unsafe { ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) };
    compiler_fence(Ordering::SeqCst);
    CURRENT.set(NONE);
}

/// Installs [`handle`] as the handler of SIGBUS.
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

/// Maps a page of zeros where a copy found no page, so that the copy can continue. Any other SIGBUS
/// ends the process, as it does by default. Calls only functions that are allowed in a signal
/// handler.
extern "C" fn handle(_signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives a valid record.
    let at = unsafe { (*info).si_addr() } as usize;
    let current = CURRENT.get();
    if (current.start..current.end).contains(&at) {
        // Set before the zeros exist, because another thread might copy them.
        // SAFETY: `copy` borrows the flag until it returns.
        unsafe { (*current.is_gone).store(true, Ordering::SeqCst) };
        let page = (at & !(PAGE - 1)) as *mut libc::c_void;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        // SAFETY: replaces a page of the mapping that `copy` reads; nothing else reads it.
        let mapped = unsafe { libc::mmap(page, PAGE, libc::PROT_READ, flags, -1, 0) };
        if mapped == page {
            return;
        }
    }
    // SAFETY: restores the default action. The next SIGBUS follows at once and ends the process.
    unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
}
