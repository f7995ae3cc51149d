//! Mappings that are kept, and in ways that are not easily seen.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::mappings::{Mapping, PAGE, READ_WRITE, checked};

const BETWEEN_STORES: Duration = Duration::from_millis(5);

/// mmap(2), writable, and a store every few milliseconds.
pub(crate) fn hold(device: &File, at: u64, value: u8) -> io::Result<()> {
    let mapping = Mapping::new(device, at, 1, READ_WRITE, libc::MAP_SHARED)?;
    loop {
        mapping.store(at, value);
        thread::sleep(BETWEEN_STORES);
    }
}

/// mmap(2) of a device, a store, and nothing that shows of it: the page may not be used any more,
/// and only a second thread is left. Does not return.
pub(crate) fn hide(device: &File, at: u64, value: u8) -> io::Result<()> {
    let mapping = Mapping::new(device, at % PAGE, 1, READ_WRITE, libc::MAP_SHARED)?;
    mapping.store(at, value);
    // SAFETY: a mapping of this function's own, which is not used any more.
    checked(unsafe { libc::mprotect(mapping.start, PAGE as usize, libc::PROT_NONE) })?;
    thread::spawn(|| {
        loop {
            thread::park();
        }
    });
    // SAFETY: ends this thread alone; what it has on its stack stays as long as the process.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    Ok(())
}

/// Where the other process stores, and what.
static PLACE: AtomicU64 = AtomicU64::new(0);
static VALUE: AtomicU64 = AtomicU64::new(0);

/// mmap(2) of a device over a page to which another process that shares this one's memory stores
/// all the time.
pub(crate) fn share(device: &File, at: u64, value: u8) -> io::Result<()> {
    const STACK: usize = 64 << 10;
    let map = |length, flags| {
        // SAFETY: new memory, which is never given back.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, READ_WRITE, flags, -1, 0) };
        if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(start) }
    };
    let page = map(PAGE as usize, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS)?;
    let stack = map(STACK, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS)?;
    PLACE.store(page as u64 + at % PAGE, Ordering::SeqCst);
    VALUE.store(value.into(), Ordering::SeqCst);
    let flags = libc::CLONE_VM | libc::SIGCHLD;
    // SAFETY: a stack of its own, which grows down, and a function that touches nothing of this
    // one's.
    let other = unsafe { libc::clone(store, stack.byte_add(STACK), flags, ptr::null_mut()) };
    checked(other.min(0))?;
    eprintln!("attack: shared by {other}");
    let (length, fixed) = (PAGE as usize, libc::MAP_SHARED | libc::MAP_FIXED);
    // SAFETY: over this function's own page, which only the other process writes, whatever is
    // there.
    let start = unsafe { libc::mmap(page, length, READ_WRITE, fixed, device.as_raw_fd(), 0) };
    if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What the other process does.
extern "C" fn store(_: *mut libc::c_void) -> libc::c_int {
    let (place, value) = (PLACE.load(Ordering::SeqCst), VALUE.load(Ordering::SeqCst));
    loop {
        // SAFETY: a page that is there and writable, as long as this runs.
        unsafe { ptr::write_volatile(place as *mut u8, value as u8) };
        thread::sleep(BETWEEN_STORES);
    }
}
