//! System calls that write immediately.

use std::fs::File;
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

/// Returns the byte at a physical address.
pub(crate) fn read(device: &File, at: u64) -> io::Result<u8> {
    let mut byte = [0];
    device.read_exact_at(&mut byte, at)?;
    Ok(byte[0])
}

/// Writes by lseek(2) and write(2).
pub(crate) fn write(mut device: &File, at: u64, value: u8) -> io::Result<()> {
    device.seek(SeekFrom::Start(at))?;
    device.write_all(&[value])
}

/// Writes by pwrite(2).
pub(crate) fn pwrite(device: &File, at: u64, value: u8) -> io::Result<()> {
    device.write_all_at(&[value], at)
}

/// Writes more bytes than there are addresses left, by lseek(2) and write(2). The kernel must
/// refuse this with EOVERFLOW.
pub(crate) fn beyond(mut device: &File) -> io::Result<()> {
    const LEFT: usize = 0x2000;
    device.seek(SeekFrom::Start((LEFT as u64).wrapping_neg()))?;
    match device.write(&[0; 2 * LEFT]) {
        Err(error) if error.raw_os_error() == Some(libc::EOVERFLOW) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::other("it was written")),
    }
}

/// Writes by lseek(2) and writev(2).
pub(crate) fn writev(mut device: &File, at: u64, value: u8) -> io::Result<()> {
    device.seek(SeekFrom::Start(at))?;
    device.write_vectored(&[IoSlice::new(&[]), IoSlice::new(&[value])]).map(drop)
}
