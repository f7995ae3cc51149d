//! Ways around `/dev/mem`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use watchdog_tests::errno::checked;

/// `KEXEC_ARCH_DEFAULT`.
const ANY_ARCHITECTURE: u64 = 0;
const PAGE: u64 = 4096;

/// Requests one port by ioperm(2), and gives it back.
pub(crate) fn ioperm(port: u64) -> io::Result<()> {
    // SAFETY: changes only which ports this thread may use.
    unsafe {
        checked(libc::syscall(libc::SYS_ioperm, port, 1, 1))?;
        checked(libc::syscall(libc::SYS_ioperm, port, 1, 0)).map(drop)
    }
}

/// Loads a page of zeros to a physical address by kexec_load(2), and unloads it again.
pub(crate) fn kexec(at: u64, is_readable: bool) -> io::Result<()> {
    let page = [0_u8; PAGE as usize];
    let segment = [page.as_ptr() as u64, PAGE, at & !(PAGE - 1), PAGE];
    let segments = if is_readable { segment.as_ptr() } else { PAGE as *const u64 };
    let none = std::ptr::null::<u64>();
    // SAFETY: the kernel reads one segment and its page, or fails to read the segment.
    unsafe {
        let entry = segment[2];
        checked(libc::syscall(libc::SYS_kexec_load, entry, 1, segments, ANY_ARCHITECTURE))?;
        checked(libc::syscall(libc::SYS_kexec_load, 0, 0, none, ANY_ARCHITECTURE)).map(drop)
    }
}

/// Loads a page to `via` by kexec_load(2), repeatedly. Another thread keeps switching the segment's
/// address between `at` and `via`.
///
/// A process that survives the whole time returns EPERM: no load to `at` succeeded.
pub(crate) fn kexec_race(at: u64, via: u64, time: Duration) -> io::Result<()> {
    let page = [0_u8; PAGE as usize];
    let [at, via] = [at, via].map(|address| address & !(PAGE - 1));
    let segment = [page.as_ptr() as u64, PAGE, via, PAGE].map(AtomicU64::new);
    let none = std::ptr::null::<u64>();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                segment[2].store(at, Ordering::Relaxed);
                segment[2].store(via, Ordering::Relaxed);
            }
        });
        let begun = Instant::now();
        while begun.elapsed() < time {
            // SAFETY: the kernel reads one segment and the page that it points to.
            unsafe {
                libc::syscall(libc::SYS_kexec_load, via, 1, segment.as_ptr(), ANY_ARCHITECTURE);
                libc::syscall(libc::SYS_kexec_load, 0, 0, none, ANY_ARCHITECTURE);
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    Err(io::Error::from_raw_os_error(libc::EPERM))
}

/// Calls pwrite(2) repeatedly, until the first success.
pub(crate) fn flood(device: &File, at: u64, value: u8, count: u64) -> io::Result<()> {
    let mut last = Ok(());
    for _ in 0..count {
        last = device.write_all_at(&[value], at);
        if last.is_ok() {
            break;
        }
    }
    last
}
