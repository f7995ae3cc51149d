//! A device that was opened before the guard was armed, and that is then in no process's descriptor
//! table. A search of all descriptor tables does not find it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::ptr;

use io_uring::{IoUring, opcode, types};

use crate::asynchronous::outcome;
use crate::{calls, mappings, wait_for};

/// Size of a descriptor in a control message, and a buffer for that message.
const DESCRIPTOR: u32 = size_of::<i32>() as u32;
type Control = [u64; 4];

/// Keeps the device in a socket's queue until the file `until` exists. Then tries pwrite(2), and
/// mmap(2) if pwrite(2) was refused.
pub(crate) fn by_socket(device: &Path, at: u64, until: &Path) -> io::Result<()> {
    let (file, value) = open(device, at)?;
    let (sender, receiver) = UnixStream::pair()?;
    send(&sender, &file)?;
    drop(file);
    wait(until);
    let file = receive(&receiver)?;
    calls::pwrite(&file, at, value).or_else(|_| mappings::mmap(&file, at, value, libc::MAP_SHARED))
}

/// Keeps the device among the registered files of an io_uring until the file `until` exists. Then
/// tries `IORING_OP_WRITE`.
pub(crate) fn by_ring(device: &Path, at: u64, until: &Path) -> io::Result<()> {
    let (file, value) = open(device, at)?;
    let mut ring = IoUring::new(2)?;
    ring.submitter().register_files(&[file.as_raw_fd()])?;
    drop(file);
    wait(until);
    loop {
        match write(&mut ring, at, value) {
            // The guard could not determine the target of this write, and requests a retry.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Submits an `IORING_OP_WRITE` to the ring's first registered file.
fn write(ring: &mut IoUring, at: u64, value: u8) -> io::Result<()> {
    let bytes = [value];
    let write = opcode::Write::new(types::Fixed(0), bytes.as_ptr(), 1).offset(at);
    // SAFETY: `bytes` outlive the completion, for which the code below waits.
    unsafe { ring.submission().push(&write.build()) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    let done = ring.completion().next().ok_or(io::ErrorKind::UnexpectedEof)?;
    outcome(i64::from(done.result()))
}

/// Opens the device. Returns it and the byte at `at`.
fn open(device: &Path, at: u64) -> io::Result<(File, u8)> {
    let file = OpenOptions::new().read(true).write(true).open(device)?;
    let value = mappings::load(&file, at)?;
    Ok((file, value))
}

fn wait(until: &Path) {
    eprintln!("attack: in flight");
    wait_for(Some(until));
}

fn send(socket: &UnixStream, file: &File) -> io::Result<()> {
    with_message(|message| {
        // SAFETY: the control buffer has room for one message of one descriptor.
        let sent = unsafe {
            let header = libc::CMSG_FIRSTHDR(message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(DESCRIPTOR) as usize;
            libc::CMSG_DATA(header).cast::<i32>().write_unaligned(file.as_raw_fd());
            libc::sendmsg(socket.as_raw_fd(), message, 0)
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    })
}

fn receive(socket: &UnixStream) -> io::Result<File> {
    with_message(|message| {
        // SAFETY: as above. The kernel fills the buffer. The descriptor is new and has no other
        // owner.
        unsafe {
            if libc::recvmsg(socket.as_raw_fd(), message, 0) < 0 {
                return Err(io::Error::last_os_error());
            }
            let header = libc::CMSG_FIRSTHDR(message);
            if header.is_null() || (*header).cmsg_type != libc::SCM_RIGHTS {
                // The kernel leaves out a descriptor that a security module refuses to the
                // receiver.
                return Err(io::Error::from_raw_os_error(libc::EPERM));
            }
            Ok(File::from_raw_fd(libc::CMSG_DATA(header).cast::<i32>().read_unaligned()))
        }
    })
}

/// Calls `act` with a message of one byte that has room for a descriptor.
fn with_message<T>(act: impl FnOnce(&mut libc::msghdr) -> io::Result<T>) -> io::Result<T> {
    let (mut byte, mut control): (_, Control) = ([0_u8], [0; 4]);
    let mut vector = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut message = libc::msghdr {
        msg_name: ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: &raw mut vector,
        msg_iovlen: 1,
        msg_control: control.as_mut_ptr().cast(),
        // SAFETY: takes a number.
        msg_controllen: unsafe { libc::CMSG_SPACE(DESCRIPTOR) } as usize,
        msg_flags: 0,
    };
    act(&mut message)
}
