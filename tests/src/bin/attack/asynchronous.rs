//! Writes that another thread or the kernel carries out.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, opcode, types};

/// Writes by `IORING_OP_WRITE`.
pub(crate) fn io_uring(device: &File, at: u64, value: u8) -> io::Result<()> {
    let bytes = [value];
    let mut ring = IoUring::new(2)?;
    let write = opcode::Write::new(types::Fd(device.as_raw_fd()), bytes.as_ptr(), 1).offset(at);
    // SAFETY: `bytes` and `device` outlive the completion, for which the code below waits.
    unsafe { ring.submission().push(&write.build()) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    let done = ring.completion().next().ok_or(io::ErrorKind::UnexpectedEof)?;
    outcome(i64::from(done.result()))
}

/// Writes by io_submit(2), as libaio does.
pub(crate) fn aio(device: &File, at: u64, value: u8) -> io::Result<()> {
    /// `struct iocb` (include/uapi/linux/aio_abi.h).
    #[repr(C)]
    #[derive(Default)]
    struct Iocb {
        data: u64,
        key: u32,
        rw_flags: i32,
        opcode: u16,
        priority: i16,
        descriptor: u32,
        buffer: u64,
        bytes: u64,
        offset: i64,
        reserved: u64,
        flags: u32,
        event_descriptor: u32,
    }
    /// `struct io_event`: data, object, result, second result.
    type IoEvent = [i64; 4];
    const PWRITE: u16 = 1;

    let bytes = [value];
    let mut block = Iocb {
        opcode: PWRITE,
        descriptor: device.as_raw_fd().cast_unsigned(),
        buffer: bytes.as_ptr() as u64,
        bytes: 1,
        offset: at.cast_signed(),
        ..Iocb::default()
    };
    let mut context: u64 = 0;
    let mut event: IoEvent = [0; 4];
    let blocks = [&raw mut block];
    // SAFETY: every pointer leads to a local of this function, of the type that the call expects.
    // All of these locals live until the last call has returned.
    unsafe {
        call(libc::syscall(libc::SYS_io_setup, 1, &raw mut context))?;
        let submitted = call(libc::syscall(libc::SYS_io_submit, context, 1, blocks.as_ptr()));
        let result = match submitted {
            Ok(_) => {
                let none = std::ptr::null::<libc::timespec>();
                call(libc::syscall(libc::SYS_io_getevents, context, 1, 1, &raw mut event, none))
                    .and_then(|_| outcome(event[2]))
            }
            Err(error) => Err(error),
        };
        libc::syscall(libc::SYS_io_destroy, context);
        result
    }
}

fn call(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Turns a count or a negated errno into a result.
pub(crate) fn outcome(result: i64) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::from_raw_os_error(i32::try_from(-result).unwrap_or(libc::EIO)));
    }
    Ok(())
}
