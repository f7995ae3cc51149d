//! A device that was opened in time and is in no process's table of descriptors meanwhile: who
//! looks for holders does not find it there.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::ptr;

use io_uring::{IoUring, opcode, types};

use crate::asynchronous::outcome;
use crate::{calls, mappings, wait_for};

/// A descriptor in a control message, and the room it takes.
const DESCRIPTOR: u32 = size_of::<i32>() as u32;
type Control = [u64; 4];

/// In a socket's queue, until there is a file; then pwrite(2), then mmap(2). Refused if both are.
pub(crate) fn by_socket(device: &Path, at: u64, until: &Path) -> io::Result<()> {
    let (file, value) = open(device, at)?;
    let (sender, receiver) = UnixStream::pair()?;
    send(&sender, &file)?;
    drop(file);
    wait(until);
    let file = receive(&receiver)?;
    calls::pwrite(&file, at, value).or_else(|_| mappings::mmap(&file, at, value, libc::MAP_SHARED))
}

/// Among the files of an io_uring, until there is a file; then IORING_OP_WRITE.
pub(crate) fn by_ring(device: &Path, at: u64, until: &Path) -> io::Result<()> {
    let (file, value) = open(device, at)?;
    let mut ring = IoUring::new(2)?;
    ring.submitter().register_files(&[file.as_raw_fd()])?;
    drop(file);
    wait(until);
    loop {
        match write(&mut ring, at, value) {
            // The guard could not tell where it leads, and has it tried again.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// IORING_OP_WRITE to the first of the ring's files.
fn write(ring: &mut IoUring, at: u64, value: u8) -> io::Result<()> {
    let bytes = [value];
    let write = opcode::Write::new(types::Fixed(0), bytes.as_ptr(), 1).offset(at);
    // SAFETY: `bytes` live until the completion is waited for below.
    unsafe { ring.submission().push(&write.build()) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    let done = ring.completion().next().ok_or(io::ErrorKind::UnexpectedEof)?;
    outcome(i64::from(done.result()))
}

/// The device, and the byte that is there.
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
        // SAFETY: as above; the kernel fills the buffer, and the descriptor is new and nobody
        // else's.
        unsafe {
            if libc::recvmsg(socket.as_raw_fd(), message, 0) < 0 {
                return Err(io::Error::last_os_error());
            }
            let header = libc::CMSG_FIRSTHDR(message);
            if header.is_null() || (*header).cmsg_type != libc::SCM_RIGHTS {
                // What a security module keeps from the receiver is left out.
                return Err(io::Error::from_raw_os_error(libc::EPERM));
            }
            Ok(File::from_raw_fd(libc::CMSG_DATA(header).cast::<i32>().read_unaligned()))
        }
    })
}

/// Does something with a message of one byte that has room for a descriptor.
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
