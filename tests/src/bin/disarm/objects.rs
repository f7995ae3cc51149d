//! Attacks on the guard's tables, programs and links by bpf(2).

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::bpf::{self, Program, Types, all, bpf, code};
use crate::programs::{TRACE_ITER, TRACING};

const CGROUP_SYSCTL: u32 = 18;
/// `BPF_LINK_TYPE_ITER`.
const LINK_ITER: u32 = 4;

/// Opens every table by its id. Refused if one is refused: only the guard refuses root.
pub(crate) fn table_by_id() -> io::Result<()> {
    let opened = all(bpf::MAP_GET_NEXT_ID, bpf::MAP_GET_FD_BY_ID);
    opened.into_iter().try_for_each(|table| table.map(drop))
}

/// Tries to open every program by its id, and to detach it from the root cgroup. Succeeds at the
/// first program that was detached; otherwise returns the last error.
pub(crate) fn detach_program() -> io::Result<()> {
    let root = File::open("/sys/fs/cgroup")?;
    let mut refused = Err(io::Error::from(io::ErrorKind::NotFound));
    for program in all(bpf::PROG_GET_NEXT_ID, bpf::PROG_GET_FD_BY_ID) {
        let detached = program.and_then(|program| {
            let [root, program] = [root.as_raw_fd(), program.as_raw_fd()].map(i32::cast_unsigned);
            bpf(bpf::PROG_DETACH, &[root, program, CGROUP_SYSCTL, 0, 0])
        });
        match detached {
            Ok(_) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => refused = Err(error),
            Err(_) => {}
        }
    }
    refused
}

/// Tries to detach every link, and to replace its program with every other one. Succeeds at the
/// first link that changed; otherwise returns the last error.
pub(crate) fn detach_link() -> io::Result<()> {
    let programs = all(bpf::PROG_GET_NEXT_ID, bpf::PROG_GET_FD_BY_ID);
    let programs: Vec<OwnedFd> = programs.into_iter().flatten().collect();
    let mut refused = Err(io::Error::from(io::ErrorKind::NotFound));
    for link in &links() {
        let mut results = vec![bpf(bpf::LINK_DETACH, &[link.as_raw_fd().cast_unsigned()])];
        results.extend(programs.iter().map(|program| update(link, program)));
        for result in results {
            match result {
                Ok(_) => return Ok(()),
                Err(error) => refused = Err(error),
            }
        }
    }
    refused
}

/// Replaces the program of the iterator link that lists the mappings of processes. The new program
/// is empty, so that the list is empty too.
pub(crate) fn update_link() -> io::Result<()> {
    let is_it = |link: &&OwnedFd| is_iterator_of(link, b"task_vma\0");
    let links = links();
    let link = links.iter().find(is_it).ok_or(io::Error::from_raw_os_error(libc::ENOENT))?;
    let target = Types::of_this_kernel()?.function("bpf_iter_task_vma")?;
    let code = [code::set(0, 0), code::EXIT];
    let program = Program { kind: TRACING, attach: TRACE_ITER, target, code: &code }.load()?;
    update(link, &program).map(drop)
}

/// Opens every link that the kernel allows.
fn links() -> Vec<OwnedFd> {
    all(bpf::LINK_GET_NEXT_ID, bpf::LINK_GET_FD_BY_ID).into_iter().flatten().collect()
}

fn update(link: &OwnedFd, program: &OwnedFd) -> io::Result<i32> {
    let [link, program] = [link.as_raw_fd(), program.as_raw_fd()].map(i32::cast_unsigned);
    bpf(bpf::LINK_UPDATE, &[link, program, 0, 0])
}

/// Returns whether a link is an iterator with this name, which ends with NUL.
fn is_iterator_of(link: &OwnedFd, wanted: &[u8]) -> bool {
    /// `struct bpf_link_info`: its type, then the address of a buffer for a name and the buffer's
    /// size.
    const KIND: usize = 0;
    const NAME: usize = 4;
    const SIZE: usize = 6;
    let (mut name, mut info) = ([0_u8; 32], [0_u32; 32]);
    info[NAME..SIZE].copy_from_slice(&bpf::halves(name.as_mut_ptr() as u64));
    info[SIZE] = name.len() as u32;
    let [low, high] = bpf::halves(info.as_mut_ptr() as u64);
    let size = size_of_val(&info) as u32;
    let words = [link.as_raw_fd().cast_unsigned(), size, low, high];
    // Links of other kinds may use the place of the name for something else, and return an error.
    let said = bpf(bpf::OBJ_GET_INFO_BY_FD, &words);
    said.is_ok() && info[KIND] == LINK_ITER && name.starts_with(wanted)
}
