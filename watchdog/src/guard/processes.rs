//! What processes have open, by a `/proc` of our own: nothing that somebody mounted over
//! the machine's hides a process from it.
//!
//! Everything read there is another process's doing: names may be anything, lists may be long and
//! change while they are read, and a process may be gone at any time, which is no error.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// `PROC_PID_INIT_INO` (include/linux/proc_ns.h): the pid namespace that all processes are in.
const FIRST_PID_NAMESPACE: u64 = 0xefff_fffc;
/// The longest of the small files that are read whole.
const LONGEST_FILE: u64 = 16 * 1024;

/// A view of all processes.
#[derive(Debug)]
pub(super) struct Processes(OwnedFd);

/// A device: its major and minor numbers.
pub(super) type Device = (u32, u32);

impl Processes {
    /// Opens a view of all processes of the machine.
    ///
    /// # Errors
    /// When the kernel gives none, or this process does not see all others.
    pub(super) fn open() -> io::Result<Self> {
        let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&context)?;
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        let hardened = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let root = fsmount(&context, flags, hardened)?;
        if statat(&root, "self/ns/pid", AtFlags::empty())?.st_ino != FIRST_PID_NAMESPACE {
            return Err(io::Error::other(
                "this process is in a pid namespace of its own and does not see all others",
            ));
        }
        Ok(Self(root))
    }

    /// The process ids (thread groups) there are.
    pub(super) fn all(&self) -> io::Result<Vec<u32>> {
        Ok(self.numbers(".")?)
    }

    /// The devices that a process has open, and whether for writing.
    pub(super) fn open_devices(&self, pid: u32) -> io::Result<Vec<(Device, bool)>> {
        let mut found = Vec::new();
        // Threads may have descriptors of their own, and outlive the one that the process is named by.
        for thread in self.numbers(&format!("{pid}/task"))? {
            if thread != pid && share_descriptors(pid, thread) {
                continue;
            }
            let thread = format!("{pid}/task/{thread}");
            for number in self.numbers(&format!("{thread}/fd")).unwrap_or_default() {
                let Some(device) = self.device(&format!("{thread}/fd/{number}")) else { continue };
                // One that cannot be known counts as open for writing.
                let info = self.read(&format!("{thread}/fdinfo/{number}")).unwrap_or_default();
                found.push((device, is_for_writing(&info)));
            }
        }
        Ok(found)
    }

    /// A small file of a process.
    pub(super) fn read(&self, path: &str) -> io::Result<String> {
        let mut bytes = Vec::new();
        self.file(path)?.take(LONGEST_FILE).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Where a link of a process leads, as its own words.
    pub(super) fn link(&self, path: &str) -> Option<Vec<u8>> {
        rustix::fs::readlinkat(&self.0, path, Vec::new()).ok().map(|it| it.into_bytes())
    }

    /// The character device that a file is, whatever its name.
    fn device(&self, path: &str) -> Option<Device> {
        let status = statat(&self.0, path, AtFlags::empty()).ok()?;
        let is_device = FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice;
        let (major, minor) = (rustix::fs::major(status.st_rdev), rustix::fs::minor(status.st_rdev));
        is_device.then_some((major, minor))
    }

    /// The names in a folder that are numbers.
    fn numbers(&self, path: &str) -> rustix::io::Result<Vec<u32>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(&self.0, path, flags, Mode::empty())?;
        let mut found = Vec::new();
        for entry in Dir::read_from(&folder)? {
            found.extend(entry?.file_name().to_str().ok().and_then(|it| it.parse::<u32>().ok()));
        }
        Ok(found)
    }

    fn file(&self, path: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(File::from(openat(&self.0, path, flags, Mode::empty())?))
    }
}

/// Whether two threads have the same table of descriptors; no, where the kernel does not say.
fn share_descriptors(one: u32, other: u32) -> bool {
    /// include/uapi/linux/kcmp.h
    const KCMP_FILES: libc::c_int = 2;
    // SAFETY: the call compares, and takes numbers only.
    unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_FILES, 0, 0) == 0 }
}

/// Whether `/proc/PID/fdinfo/N` is of a descriptor that may write (`seq_show()`, fs/proc/fd.c).
fn is_for_writing(info: &str) -> bool {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_none_or(|flags| flags & libc::O_ACCMODE.cast_unsigned() != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that a descriptor counts as one that writes unless it is known to be for reading.
    #[test]
    fn descriptors() {
        assert!(!is_for_writing("pos:\t0\nflags:\t0100000\nmnt_id:\t9\n"));
        assert!(is_for_writing("pos:\t0\nflags:\t0100002\n"));
        assert!(
            is_for_writing("flags:\t01\n") && is_for_writing("") && is_for_writing("flags:\t9")
        );
    }
}
