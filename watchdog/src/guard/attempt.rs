//! A denied attempt, as the programs reported it.

use std::fs;
use std::os::unix::ffi::OsStringExt;

use watchdog_common::{Attempt, EXE_NAMES};

use super::WritePath;
use crate::memory::{PhysAddr, PhysRange};

/// Somebody tried to write to protected memory and was denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteAttempt {
    /// The way taken.
    pub path: WritePath,
    /// Physical memory aimed at, where it could be known.
    pub range: Option<PhysRange>,
    /// Process (thread group) id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Real user id.
    pub uid: u32,
    /// The task's name; foreign bytes.
    pub comm: Vec<u8>,
    /// Path of its executable; foreign bytes.
    pub exe: Option<Vec<u8>>,
}

impl WriteAttempt {
    /// Reads one record of the ring buffer; `None` when it is none.
    pub(super) fn of_record(record: &[u8]) -> Option<Self> {
        if record.len() < size_of::<Attempt>() {
            return None;
        }
        // SAFETY: long enough, and every bit pattern is an `Attempt`; read unaligned.
        let attempt = unsafe { record.as_ptr().cast::<Attempt>().read_unaligned() };
        let Attempt { range, path, tgid, tid, uid, comm, exe } = attempt;
        Some(Self {
            path: WritePath::of_number(path)?,
            range: PhysRange::new(PhysAddr(range.start), PhysAddr(range.end)),
            pid: tgid,
            tid,
            uid,
            comm: until_nul(&comm).to_vec(),
            exe: exe_of_process(tgid).or_else(|| joined(&exe)),
        })
    }
}

/// The executable by /proc, which knows mounts; gone with the process.
fn exe_of_process(pid: u32) -> Option<Vec<u8>> {
    fs::read_link(format!("/proc/{pid}/exe")).ok().map(|path| path.into_os_string().into_vec())
}

/// The path the kernel side gathered: names from the last one up.
fn joined(names: &[[u8; watchdog_common::EXE_NAME_BYTES]; EXE_NAMES]) -> Option<Vec<u8>> {
    let names: Vec<&[u8]> =
        names.iter().map(|name| until_nul(name)).take_while(|name| !name.is_empty()).collect();
    // The root calls itself "/"; a path without it is longer than what is gathered.
    let (root, rest) = match names.split_last() {
        Some((&b"/", rest)) => (&b""[..], rest),
        Some(_) => (&b"..."[..], names.as_slice()),
        None => return None,
    };
    let mut path = root.to_vec();
    for name in rest.iter().rev() {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    Some(path)
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> [[u8; watchdog_common::EXE_NAME_BYTES]; EXE_NAMES] {
        let mut names = [[0; watchdog_common::EXE_NAME_BYTES]; EXE_NAMES];
        for (slot, name) in names.iter_mut().zip(list) {
            slot[..name.len()].copy_from_slice(name.as_bytes());
        }
        names
    }

    /// Check that an executable's path is put together the right way round, and that one that is
    /// deeper than what is gathered says so.
    #[test]
    fn paths() {
        let path =
            |list: &[&str]| joined(&names(list)).map(|path| String::from_utf8(path).unwrap());
        assert_eq!(path(&["dd", "bin", "usr", "/"]).unwrap(), "/usr/bin/dd");
        assert_eq!(path(&["a"; EXE_NAMES]).unwrap(), format!("...{}", "/a".repeat(EXE_NAMES)));
        assert_eq!(path(&[]), None);
    }

    /// Check that a record that is too short or of an unknown path is refused.
    #[test]
    fn records() {
        assert_eq!(WriteAttempt::of_record(&[0; 8]), None);
        assert_eq!(WriteAttempt::of_record(&[0xff; size_of::<Attempt>()]), None);
    }
}
