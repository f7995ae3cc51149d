//! Reaching for the guard's tables, programs and links by bpf(2).

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use watchdog_tests::errno::checked;

/// Commands and values of include/uapi/linux/bpf.h.
const OBJ_GET: i32 = 7;
const PROG_DETACH: i32 = 9;
const PROG_GET_NEXT_ID: i32 = 11;
const MAP_GET_NEXT_ID: i32 = 12;
const PROG_GET_FD_BY_ID: i32 = 13;
const MAP_GET_FD_BY_ID: i32 = 14;
const LINK_UPDATE: i32 = 29;
const LINK_GET_FD_BY_ID: i32 = 30;
const LINK_GET_NEXT_ID: i32 = 31;
const LINK_DETACH: i32 = 34;
const CGROUP_SYSCTL: u32 = 18;

/// Opens a pinned object.
pub(crate) fn pinned(file: &Path) -> io::Result<()> {
    let name = CString::new(file.as_os_str().as_bytes())?;
    let address = name.as_ptr() as u64;
    let words = [address as u32, (address >> 32) as u32, 0, 0];
    bpf(OBJ_GET, &words).map(owned).map(drop)
}

/// Opens every table by its id. Refused if any is: nothing but the guard refuses root.
pub(crate) fn table_by_id() -> io::Result<()> {
    let opened = all(MAP_GET_NEXT_ID, MAP_GET_FD_BY_ID);
    opened.into_iter().try_for_each(|table| table.map(drop))
}

/// Opens every program by its id, and detaches from the root cgroup those that are had. What
/// succeeds is the first that came off; refused is the last that was not had.
pub(crate) fn detach_program() -> io::Result<()> {
    let root = File::open("/sys/fs/cgroup")?;
    let mut refused = Err(io::Error::from(io::ErrorKind::NotFound));
    for program in all(PROG_GET_NEXT_ID, PROG_GET_FD_BY_ID) {
        let detached = program.and_then(|program| {
            let [root, program] = [root.as_raw_fd(), program.as_raw_fd()].map(i32::cast_unsigned);
            bpf(PROG_DETACH, &[root, program, CGROUP_SYSCTL, 0, 0])
        });
        match detached {
            Ok(_) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => refused = Err(error),
            Err(_) => {}
        }
    }
    refused
}

/// Detaches every link, and puts another program behind it. What succeeds is the first that came
/// off; else the last refusal.
pub(crate) fn detach_link() -> io::Result<()> {
    let links: Vec<OwnedFd> =
        all(LINK_GET_NEXT_ID, LINK_GET_FD_BY_ID).into_iter().flatten().collect();
    let programs: Vec<OwnedFd> =
        all(PROG_GET_NEXT_ID, PROG_GET_FD_BY_ID).into_iter().flatten().collect();
    let mut refused = Err(io::Error::from(io::ErrorKind::NotFound));
    for link in &links {
        let link = link.as_raw_fd().cast_unsigned();
        let mut results = vec![bpf(LINK_DETACH, &[link])];
        results.extend(
            programs.iter().map(|program| {
                bpf(LINK_UPDATE, &[link, program.as_raw_fd().cast_unsigned(), 0, 0])
            }),
        );
        for result in results {
            match result {
                Ok(_) => return Ok(()),
                Err(error) => refused = Err(error),
            }
        }
    }
    refused
}

/// Every object of a kind: opened, or why not.
fn all(next: i32, open: i32) -> Vec<io::Result<OwnedFd>> {
    let mut all = Vec::new();
    let mut id = 0;
    loop {
        let mut words = [id, 0, 0];
        // SAFETY: the kernel reads and writes these words.
        let found = unsafe { libc::syscall(libc::SYS_bpf, next, &raw mut words, 12) };
        if found != 0 {
            return all;
        }
        id = words[1];
        all.push(bpf(open, &[id, 0, 0]).map(owned));
    }
}

fn owned(descriptor: i32) -> OwnedFd {
    // SAFETY: new, and nobody else's.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

fn bpf(command: i32, words: &[u32]) -> io::Result<i32> {
    let size = size_of_val(words);
    // SAFETY: the kernel reads the words, and what they point to lives as long.
    checked(unsafe { libc::syscall(libc::SYS_bpf, command, words.as_ptr(), size) })
        .map(|result| result as i32)
}
