//! What processes have mapped and open, by a `/proc` of our own: nothing that somebody mounted over
//! the machine's hides a process from it.
//!
//! Everything read there is another process's doing: names may be anything, lists may be long and
//! change while they are read, and a process may be gone at any time, which is no error.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// `PROC_PID_INIT_INO` (include/linux/proc_ns.h): the pid namespace that all processes are in.
const FIRST_PID_NAMESPACE: u64 = 0xefff_fffc;
/// A line of a list of mappings: the longest path, twice for its escapes, and the numbers.
const LONGEST_LINE: u64 = 4 * 4096;
/// The longest of the small files that are read whole.
const LONGEST_FILE: u64 = 16 * 1024;

/// A view of all processes.
#[derive(Debug)]
pub(super) struct Processes(OwnedFd);

/// A shared mapping of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    /// Virtual addresses in the process: first byte, and first byte behind.
    pub(super) start: u64,
    /// First byte behind.
    pub(super) end: u64,
    /// Whether it may be written as it is.
    pub(super) is_writable: bool,
    /// Where in the file it begins.
    pub(super) offset: u64,
}

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

    /// The shared mappings of a device's file in a process, each with the device.
    pub(super) fn shared_mappings(&self, pid: u32) -> io::Result<Vec<(Device, Mapping)>> {
        let mut lines = BufReader::new(self.file(&format!("{pid}/maps"))?);
        let (mut line, mut found) = (Vec::new(), Vec::new());
        loop {
            line.clear();
            // A process without memory, as a kernel thread or one that is ending, has no line.
            if lines.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
                return Ok(found);
            }
            let Some(mapping) = shared_mapping(&line) else { continue };
            let entry = format!("{pid}/map_files/{:x}-{:x}", mapping.start, mapping.end);
            found.extend(self.device(&entry).map(|device| (device, mapping)));
        }
    }

    /// The devices that a process has open, and whether for writing.
    pub(super) fn open_devices(&self, pid: u32) -> io::Result<Vec<(Device, bool)>> {
        let mut found = Vec::new();
        for number in self.numbers(&format!("{pid}/fd"))? {
            let Some(device) = self.device(&format!("{pid}/fd/{number}")) else { continue };
            // One that cannot be known counts as open for writing.
            let info = self.read(&format!("{pid}/fdinfo/{number}")).unwrap_or_default();
            found.push((device, is_for_writing(&info)));
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

/// Reads a line of `/proc/PID/maps` (`show_map_vma()`, fs/proc/task_mmu.c, 6.1 to 7.2):
/// `7f00-8f00 rw-s 38000000 00:06 4 /dev/mem`. `None` for what is private or no file's.
fn shared_mapping(line: &[u8]) -> Option<Mapping> {
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let mut word = || words.next().and_then(|word| std::str::from_utf8(word).ok());
    let (start, end) = word()?.split_once('-')?;
    let [_, write, _, b's'] = word()?.as_bytes() else { return None };
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let (offset, _device, inode) = (hex(word()?)?, word()?, word()?);
    let mapping =
        Mapping { start: hex(start)?, end: hex(end)?, is_writable: *write == b'w', offset };
    (inode.trim_end() != "0" && mapping.start < mapping.end).then_some(mapping)
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

    /// Check that a shared mapping is read with its place in the file, whatever its name, and that
    /// private ones, those of no file, and lines that are none are left out.
    #[test]
    fn lines() {
        let line = b"7f0a1000-7f0a3000 rw-s 38001000 00:06 4                 /a b (deleted)\n";
        let expected = Mapping {
            start: 0x7f0a_1000,
            end: 0x7f0a_3000,
            is_writable: true,
            offset: 0x3800_1000,
        };
        assert_eq!(shared_mapping(line), Some(expected));
        let line = b"7f0a1000-7f0a3000 r--s 38001000 00:06 4 \xff\n";
        assert_eq!(shared_mapping(line), Some(Mapping { is_writable: false, ..expected }));
        for line in [
            &b"7f0a1000-7f0a3000 rw-p 38001000 00:06 4 /dev/mem\n"[..],
            b"7f0a1000-7f0a3000 rw-s 00000000 00:00 0\n",
            b"7f0a3000-7f0a1000 rw-s 0 00:06 4 /dev/mem\n",
            b"7f0a1000-7f0a3000 rw-s\n",
            b"\xff\n",
            b"",
        ] {
            assert_eq!(shared_mapping(line), None, "{}", String::from_utf8_lossy(line));
        }
    }

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
