//! Processes that keep a mapping, some in ways that are hard to detect.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::mappings::{Mapping, PAGE, READ_WRITE, checked};

const BETWEEN_STORES: Duration = Duration::from_millis(5);

/// Maps the device writable by mmap(2), and stores a byte every few milliseconds.
pub(crate) fn hold(device: &File, at: u64, value: u8) -> io::Result<()> {
    let mapping = Mapping::new(device, at, 1, READ_WRITE, libc::MAP_SHARED)?;
    loop {
        mapping.store(at, value);
        thread::sleep(BETWEEN_STORES);
    }
}

/// Maps a device by mmap(2), stores a byte, and hides the mapping: the page becomes inaccessible,
/// and the main thread ends, so that only a second thread is left. Does not return.
pub(crate) fn hide(device: &File, at: u64, value: u8) -> io::Result<()> {
    let mapping = Mapping::new(device, at % PAGE, 1, READ_WRITE, libc::MAP_SHARED)?;
    mapping.store(at, value);
    // SAFETY: this function made the mapping and does not use it again.
    checked(unsafe { libc::mprotect(mapping.start, PAGE as usize, libc::PROT_NONE) })?;
    thread::spawn(|| {
        loop {
            thread::park();
        }
    });
    // SAFETY: ends this thread only. The memory of its stack stays until the process ends.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    Ok(())
}

/// Address at which the other process stores, and the byte that it stores.
static PLACE: AtomicU64 = AtomicU64::new(0);
static VALUE: AtomicU64 = AtomicU64::new(0);

/// Maps a device by mmap(2) over a page to which another process stores all the time. Both
/// processes share their memory.
pub(crate) fn share(device: &File, at: u64, value: u8) -> io::Result<()> {
    const STACK: usize = 64 << 10;
    let map = |length, flags| {
        // SAFETY: new memory, which is never unmapped.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, READ_WRITE, flags, -1, 0) };
        if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(start) }
    };
    let page = map(PAGE as usize, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS)?;
    let stack = map(STACK, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS)?;
    PLACE.store(page as u64 + at % PAGE, Ordering::SeqCst);
    VALUE.store(value.into(), Ordering::SeqCst);
    let flags = libc::CLONE_VM | libc::SIGCHLD;
    // SAFETY: the stack is separate and grows down, and the function touches nothing of this
    // process except the two statics and the page.
    let other = unsafe { libc::clone(store, stack.byte_add(STACK), flags, ptr::null_mut()) };
    checked(other.min(0))?;
    eprintln!("attack: shared by {other}");
    let (length, fixed) = (PAGE as usize, libc::MAP_SHARED | libc::MAP_FIXED);
    // SAFETY: the page belongs to this function. Only the other process writes to it, whatever is
    // mapped there.
    let start = unsafe { libc::mmap(page, length, READ_WRITE, fixed, device.as_raw_fd(), 0) };
    if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Body of the other process.
extern "C" fn store(_: *mut libc::c_void) -> libc::c_int {
    let (place, value) = (PLACE.load(Ordering::SeqCst), VALUE.load(Ordering::SeqCst));
    loop {
        // SAFETY: the page stays mapped and writable as long as this process runs.
        unsafe { ptr::write_volatile(place as *mut u8, value as u8) };
        thread::sleep(BETWEEN_STORES);
    }
}
