//! An attempt, and what the guard did about it, as the programs reported it.

use std::collections::BTreeMap;
use std::fs::File;

use watchdog_common::{Attempt, EXE_NAMES};

use super::paths::AttemptDetail;
use super::processes::Processes;
use super::{Policy, WritePath};
use watchdog_core::memory::{PhysAddr, PhysRange};

/// A process used a write path, and the guard applied its policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteAttempt {
    /// The path.
    pub path: WritePath,
    /// The action. A process that could not be killed was only observed.
    pub action: Policy,
    /// More about the attempt, for paths that have more: for example the kernel's reason `msr`.
    pub detail: Option<String>,
    /// The physical memory that was the target, if it is known.
    pub range: Option<PhysRange>,
    /// The process.
    pub process: Attacker,
}

/// The process that made an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attacker {
    /// Process (thread group) id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Real user id.
    pub uid: u32,
    /// The task's name; untrusted bytes.
    pub comm: Vec<u8>,
    /// Path of its executable within its mount, as the program read it; untrusted bytes.
    pub exe: Option<Vec<u8>>,
    /// Its `/proc/PID/cgroup`, if that was read while the process lived; untrusted bytes.
    pub cgroup: Option<Vec<u8>>,
    /// Process id of its parent.
    pub parent: u32,
    /// The parent's name; untrusted bytes.
    pub parent_comm: Vec<u8>,
}

impl WriteAttempt {
    /// Reads one record of the ring buffer; `None` if it is invalid. `reasons` are the kernel's
    /// lockdown reasons, by number.
    pub(super) fn of_record(record: &[u8], reasons: &BTreeMap<u32, String>) -> Option<Self> {
        if record.len() < size_of::<Attempt>() {
            return None;
        }
        // SAFETY: the record is long enough, every bit pattern is an `Attempt`, and the read is
        // unaligned.
        let attempt = unsafe { record.as_ptr().cast::<Attempt>().read_unaligned() };
        let Attempt { range, path, action, tgid, tid, uid, parent, detail, .. } = attempt;
        let (path, action) = (WritePath::of_number(path)?, Policy::of_number(action)?);
        let is_observed = action == Policy::Observe;
        Some(Self {
            path,
            action,
            detail: path.detail(&AttemptDetail { number: detail, is_observed, reasons }),
            range: PhysRange::new(PhysAddr(range.start), PhysAddr(range.end)),
            process: Attacker {
                pid: tgid,
                tid,
                uid,
                comm: until_nul(&attempt.comm).to_vec(),
                exe: joined(&attempt.exe),
                cgroup: None,
                parent,
                parent_comm: until_nul(&attempt.parent_comm).to_vec(),
            },
        })
    }
}

impl Attacker {
    /// Path of its executable. `/proc` gives it while the process lives, with mounts resolved.
    /// Later it is the path that the program read.
    #[must_use]
    pub fn executable(&self) -> Option<Vec<u8>> {
        let path = Processes::of_machine().and_then(|it| it.link(&format!("{}/exe", self.pid)));
        path.or_else(|| self.exe.clone())
    }

    /// Opens the executable, while the process lives.
    #[must_use]
    pub fn open_executable(&self) -> Option<File> {
        Processes::of_machine()?.file(&format!("{}/exe", self.pid)).ok()
    }

    /// Its control group (`/system.slice/cron.service`), from `/proc` while the process lives.
    /// Untrusted bytes.
    #[must_use]
    pub fn control_group(&self) -> Option<Vec<u8>> {
        let groups =
            Processes::of_machine().and_then(|it| it.bytes(&format!("{}/cgroup", self.pid)).ok());
        let groups = groups.or_else(|| self.cgroup.clone())?;
        let unified = groups.split(|&byte| byte == b'\n').find_map(|it| it.strip_prefix(b"0::"));
        unified.map(<[u8]>::to_vec)
    }
}

/// The path from the names that the program read, the last name first.
fn joined(names: &[[u8; watchdog_common::EXE_NAME_BYTES]; EXE_NAMES]) -> Option<Vec<u8>> {
    let names: Vec<&[u8]> =
        names.iter().map(|name| until_nul(name)).take_while(|name| !name.is_empty()).collect();
    // The root's name is "/". A path without it has more names than the program reads.
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

    /// Check that an executable's path has its names in the right order. Check that a path with too
    /// many names begins with `...`.
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
        let parse = |record: &[u8]| WriteAttempt::of_record(record, &BTreeMap::new());
        assert_eq!(parse(&[0; 8]), None);
        assert_eq!(parse(&[0xff; size_of::<Attempt>()]), None);
    }
}
