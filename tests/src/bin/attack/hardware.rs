//! Ways around `/dev/mem`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use watchdog_tests::errno::checked;

/// `KEXEC_ARCH_DEFAULT`.
const ANY_ARCHITECTURE: u64 = 0;

/// ioperm(2) for one port, which is given back.
pub(crate) fn ioperm(port: u64) -> io::Result<()> {
    // SAFETY: changes nothing but which ports this thread may use.
    unsafe {
        checked(libc::syscall(libc::SYS_ioperm, port, 1, 1))?;
        checked(libc::syscall(libc::SYS_ioperm, port, 1, 0)).map(drop)
    }
}

/// kexec_load(2) of a page of zeros to a physical address, which is unloaded again.
pub(crate) fn kexec(at: u64, is_readable: bool) -> io::Result<()> {
    const PAGE: u64 = 4096;
    let page = [0_u8; PAGE as usize];
    let segment = [page.as_ptr() as u64, PAGE, at & !(PAGE - 1), PAGE];
    let segments = if is_readable { segment.as_ptr() } else { PAGE as *const u64 };
    let none = std::ptr::null::<u64>();
    // SAFETY: the kernel reads one segment and the page it names, or finds nothing there.
    unsafe {
        let entry = segment[2];
        checked(libc::syscall(libc::SYS_kexec_load, entry, 1, segments, ANY_ARCHITECTURE))?;
        checked(libc::syscall(libc::SYS_kexec_load, 0, 0, none, ANY_ARCHITECTURE)).map(drop)
    }
}

/// pwrite(2), again and again; the first success ends it.
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
