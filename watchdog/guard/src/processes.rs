//! What the kernel says about itself and about processes. It is read from a private mount of
//! `/proc`: no mount over the machine's `/proc` can hide a process from it.
//!
//! Other processes control what is read there. Names may contain any byte. Lists may be long, and
//! change while they are read. A process may exit at any time, which is not an error.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Statx, StatxFlags, openat, statat, statx};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// `PROC_PID_INIT_INO` (include/linux/proc_ns.h): the pid namespace that contains all processes.
const FIRST_PID_NAMESPACE: u64 = 0xefff_fffc;
/// `PROC_TIME_INIT_INO`: the time namespace with the kernel's own clocks. Leases end by these.
const FIRST_TIME_NAMESPACE: u64 = 0xefff_fffa;
/// The most bytes that are read of a small file.
const LONGEST_FILE: u64 = 16 * 1024;

/// A view of all processes.
#[derive(Debug)]
pub(super) struct Processes(OwnedFd);

/// A device: its major and minor numbers.
pub(super) type Device = (u32, u32);

/// A file that a process has open and that the guard may forbid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Open {
    /// A character device, whatever its name.
    Device(Device),
    /// A file of some sysfs that starts and stops the processor with this number.
    Processor(u32),
}

impl Processes {
    /// Opens a view of all processes of the machine.
    ///
    /// # Errors
    /// When the kernel does not allow the mount, or this process does not see all others.
    pub(super) fn open() -> io::Result<Self> {
        let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&context)?;
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        let hardened = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let root = fsmount(&context, flags, hardened)?;
        if statat(&root, "self/ns/pid", AtFlags::empty())?.st_ino != FIRST_PID_NAMESPACE {
            return Err(io::Error::other(
                "this process is in a pid namespace of its own and does not see all processes",
            ));
        }
        // The file is missing on kernels without time namespaces.
        let time = statat(&root, "self/ns/time", AtFlags::empty());
        if time.is_ok_and(|it| it.st_ino != FIRST_TIME_NAMESPACE) {
            return Err(io::Error::other("this process is in a time namespace of its own"));
        }
        Ok(Self(root))
    }

    /// One view for the whole program; `None` if it cannot be opened. It is for callers that can
    /// work without it.
    pub(super) fn of_machine() -> Option<&'static Self> {
        static OPEN: OnceLock<Option<Processes>> = OnceLock::new();
        OPEN.get_or_init(|| {
            let open = Self::open();
            open.inspect_err(|error| log::debug!("/proc cannot be mounted: {error}")).ok()
        })
        .as_ref()
    }

    /// The ids of all processes (thread groups).
    pub(super) fn all(&self) -> io::Result<Vec<u32>> {
        Ok(self.numbers(".")?)
    }

    /// The files that a process has open and that the guard may forbid, each with whether it is
    /// open for writing.
    pub(super) fn open_files(&self, pid: u32) -> io::Result<Vec<(Open, bool)>> {
        let mut found = Vec::new();
        for (thread, number) in self.descriptors(pid)? {
            let Some(open) = self.open_file(&format!("{thread}/fd/{number}")) else { continue };
            // A descriptor with unknown flags counts as open for writing.
            let info = self.read(&format!("{thread}/fdinfo/{number}")).unwrap_or_default();
            found.push((open, is_for_writing(&info)));
        }
        Ok(found)
    }

    /// Whether a process has the socket with this inode number open.
    pub(super) fn has_socket(&self, pid: u32, socket: u64) -> bool {
        let is_it = |(thread, number): &(String, u32)| {
            statat(&self.0, format!("{thread}/fd/{number}"), AtFlags::empty()).is_ok_and(|it| {
                it.st_ino == socket && FileType::from_raw_mode(it.st_mode) == FileType::Socket
            })
        };
        self.descriptors(pid).is_ok_and(|all| all.iter().any(is_it))
    }

    /// Whether this process can see at least one descriptor of the process `pid`.
    pub(super) fn has_any(&self, pid: u32) -> bool {
        self.descriptors(pid).is_ok_and(|all| !all.is_empty())
    }

    /// The descriptors of a process: the thread that owns each table, and the numbers in it.
    fn descriptors(&self, pid: u32) -> io::Result<Vec<(String, u32)>> {
        let mut found = Vec::new();
        // Threads may have a descriptor table of their own, and may outlive the thread group's
        // leader.
        for thread in self.numbers(&format!("{pid}/task"))? {
            if thread != pid && share_descriptors(pid, thread) {
                continue;
            }
            let thread = format!("{pid}/task/{thread}");
            let numbers = self.numbers(&format!("{thread}/fd")).unwrap_or_default();
            found.extend(numbers.into_iter().map(|number| (thread.clone(), number)));
        }
        Ok(found)
    }

    /// Reads a small file as text.
    pub(super) fn read(&self, path: &str) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes(path)?).into_owned())
    }

    /// Reads a small file.
    pub(super) fn bytes(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file(path)?.take(LONGEST_FILE).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The target of a symbolic link of a process, as the kernel writes it.
    pub(super) fn link(&self, path: &str) -> Option<Vec<u8>> {
        rustix::fs::readlinkat(&self.0, path, Vec::new()).ok().map(|it| it.into_bytes())
    }

    /// The file behind a descriptor, if the guard may forbid it.
    fn open_file(&self, path: &str) -> Option<Open> {
        let status = statat(&self.0, path, AtFlags::empty()).ok()?;
        match FileType::from_raw_mode(status.st_mode) {
            FileType::CharacterDevice => {
                let number = status.st_rdev;
                Some(Open::Device((rustix::fs::major(number), rustix::fs::minor(number))))
            }
            // sysfs reports a size of one page for every file, whatever its content.
            FileType::RegularFile if status.st_size == 4096 => {
                processor_of(&self.link(path)?).map(Open::Processor)
            }
            _ => None,
        }
    }

    /// The names in a folder that are numbers.
    pub(super) fn numbers(&self, path: &str) -> rustix::io::Result<Vec<u32>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(&self.0, path, flags, Mode::empty())?;
        let mut found = Vec::new();
        for entry in Dir::read_from(&folder)? {
            found.extend(entry?.file_name().to_str().ok().and_then(|it| it.parse::<u32>().ok()));
        }
        Ok(found)
    }

    /// The inode number of process 1's mount namespace (fs/nsfs.c). It has 32 bits.
    pub(super) fn init_mnt_ns(&self) -> io::Result<u32> {
        let number = statat(&self.0, "1/ns/mnt", AtFlags::empty())?.st_ino;
        u32::try_from(number).map_err(io::Error::other)
    }

    /// Whether two processes, given by number or `self`, execute the same file.
    pub(super) fn execute_the_same(&self, one: &str, other: &str) -> bool {
        let executable = |it: &str| {
            let status = statat(&self.0, format!("{it}/exe"), AtFlags::empty()).ok()?;
            Some((status.st_dev, status.st_ino))
        };
        executable(one).is_some_and(|it| Some(it) == executable(other))
    }

    /// The status of a file of a process, or of a link's target, with the id of its mount.
    pub(super) fn status(&self, path: &str) -> io::Result<Statx> {
        let flags = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        Ok(statx(&self.0, path, AtFlags::empty(), flags)?)
    }

    /// Whether file names mean the same files for this process as for process 1. Both must have the
    /// same root on the same mount; a mount belongs to one namespace.
    pub(super) fn finds_as_first(&self) -> io::Result<bool> {
        let (own, first) = (self.status("self/root")?, self.status("1/root")?);
        // The kernel reports the mount's id since 5.8.
        let is_known = [own.stx_mask, first.stx_mask]
            .iter()
            .all(|it| StatxFlags::from_bits_retain(*it).contains(StatxFlags::MNT_ID));
        let place = |it: &Statx| (it.stx_mnt_id, it.stx_ino);
        Ok(is_known && place(&own) == place(&first))
    }

    /// Opens a file of a process for reading.
    pub(super) fn file(&self, path: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(File::from(openat(&self.0, path, flags, Mode::empty())?))
    }
}

impl AsFd for Processes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Enters the mount namespace of process 1 and its root, whatever the caller mounted in its own
/// namespace. A process that is already there keeps its working directory. The process also stops
/// sharing its root with other processes. They share it by `CLONE_FS`, also across execve(2), and
/// could change it later.
///
/// # Errors
/// When this process has other threads, or lacks the permission.
pub fn enter_first_mounts() -> io::Result<()> {
    // SAFETY: the call only gives this thread its own root and working directory.
    unsafe { unshare_unsafe(UnshareFlags::FS)? };
    let processes = Processes::open()?;
    if processes.finds_as_first()? {
        return Ok(());
    }
    let mounts = processes.file("1/ns/mnt")?;
    Ok(move_into_link_name_space(mounts.as_fd(), Some(LinkNameSpaceType::Mount))?)
}

/// A command that starts the executable of this process, even if its file was renamed or removed.
#[must_use]
pub fn this_program() -> Command {
    /// Relative to the working directory: an absolute path could lead to a mount over `/proc`.
    const EXECUTABLE: &str = "self/exe";
    let Some(machine) = Processes::of_machine() else {
        return Command::new(Path::new("/proc").join(EXECUTABLE));
    };
    let mut command = Command::new(EXECUTABLE);
    // SAFETY: the code between fork and exec only calls fchdir(2).
    unsafe { command.pre_exec(move || Ok(rustix::process::fchdir(machine)?)) };
    command
}

/// The processor that a file starts, from the file's path: `…/cpu/cpu7/online`,
/// `…/cpu/cpu7/hotplug/target`.
fn processor_of(path: &[u8]) -> Option<u32> {
    let path = str::from_utf8(path).ok()?;
    let folder = path.strip_suffix("/online").or_else(|| path.strip_suffix("/hotplug/target"))?;
    folder.rsplit_once("/cpu/cpu")?.1.parse().ok()
}

/// Whether two threads share a descriptor table; `false` if the kernel does not say.
fn share_descriptors(one: u32, other: u32) -> bool {
    /// include/uapi/linux/kcmp.h
    const KCMP_FILES: libc::c_int = 2;
    // SAFETY: the call compares, and its arguments are numbers.
    unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_FILES, 0, 0) == 0 }
}

/// Whether the text of `/proc/PID/fdinfo/N` is about a descriptor that may write (`seq_show()`,
/// fs/proc/fd.c).
fn is_for_writing(info: &str) -> bool {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_none_or(|flags| flags & libc::O_ACCMODE.cast_unsigned() != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that files which start a processor are recognized by their path, and no other files.
    #[test]
    fn processors() {
        let base = "/sys/devices/system";
        let processor = |path: &str| processor_of(format!("{base}/{path}").as_bytes());
        assert_eq!(processor("cpu/cpu12/online"), Some(12));
        assert_eq!(processor("cpu/cpu3/hotplug/target"), Some(3));
        for other in ["cpu/online", "cpu/cpu3/topology/core_id", "memory/memory3/online"] {
            assert_eq!(processor(other), None, "{other}");
        }
    }

    /// Check that a descriptor counts as open for writing unless it is known to be read-only.
    #[test]
    fn descriptors() {
        assert!(!is_for_writing("pos:\t0\nflags:\t0100000\nmnt_id:\t9\n"));
        assert!(is_for_writing("pos:\t0\nflags:\t0100002\n"));
        assert!(
            is_for_writing("flags:\t01\n") && is_for_writing("") && is_for_writing("flags:\t9")
        );
    }
}
