//! What the kernel says of itself and of processes, by a `/proc` of our own: nothing that is
//! mounted over the machine's hides a process from it.
//!
//! Everything read there is another process's doing: names may be anything, lists may be long and
//! change while they are read, and a process may be gone at any time, which is no error.

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

/// `PROC_PID_INIT_INO` (include/linux/proc_ns.h): the pid namespace that all processes are in.
const FIRST_PID_NAMESPACE: u64 = 0xefff_fffc;
/// `PROC_TIME_INIT_INO`: the time namespace whose clocks are the kernel's own, by which leases end.
const FIRST_TIME_NAMESPACE: u64 = 0xefff_fffa;
/// The longest of the small files that are read whole.
const LONGEST_FILE: u64 = 16 * 1024;

/// A view of all processes.
#[derive(Debug)]
pub(super) struct Processes(OwnedFd);

/// A device: its major and minor numbers.
pub(super) type Device = (u32, u32);

/// What a process has open that may matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Open {
    /// A character device, whatever its name.
    Device(Device),
    /// What starts and stops a processor of this number, in a sysfs.
    Processor(u32),
}

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
                "this process is in a pid namespace of its own and does not see all processes",
            ));
        }
        // Kernels without such namespaces have no such file.
        let time = statat(&root, "self/ns/time", AtFlags::empty());
        if time.is_ok_and(|it| it.st_ino != FIRST_TIME_NAMESPACE) {
            return Err(io::Error::other("this process is in a time namespace of its own"));
        }
        Ok(Self(root))
    }

    /// One view for the whole program, for what can do without.
    pub(super) fn of_machine() -> Option<&'static Self> {
        static OPEN: OnceLock<Option<Processes>> = OnceLock::new();
        OPEN.get_or_init(|| {
            let open = Self::open();
            open.inspect_err(|error| log::debug!("/proc cannot be mounted: {error}")).ok()
        })
        .as_ref()
    }

    /// The process ids (thread groups) there are.
    pub(super) fn all(&self) -> io::Result<Vec<u32>> {
        Ok(self.numbers(".")?)
    }

    /// What a process has open, and whether for writing.
    pub(super) fn open_files(&self, pid: u32) -> io::Result<Vec<(Open, bool)>> {
        let mut found = Vec::new();
        for (thread, number) in self.descriptors(pid)? {
            let Some(open) = self.open_file(&format!("{thread}/fd/{number}")) else { continue };
            // One that cannot be known counts as open for writing.
            let info = self.read(&format!("{thread}/fdinfo/{number}")).unwrap_or_default();
            found.push((open, is_for_writing(&info)));
        }
        Ok(found)
    }

    /// Whether a process has a socket, by the socket's number.
    pub(super) fn has_socket(&self, pid: u32, socket: u64) -> bool {
        let is_it = |(thread, number): &(String, u32)| {
            statat(&self.0, format!("{thread}/fd/{number}"), AtFlags::empty()).is_ok_and(|it| {
                it.st_ino == socket && FileType::from_raw_mode(it.st_mode) == FileType::Socket
            })
        };
        self.descriptors(pid).is_ok_and(|all| all.iter().any(is_it))
    }

    /// Whether a process is seen to have anything open.
    pub(super) fn has_any(&self, pid: u32) -> bool {
        self.descriptors(pid).is_ok_and(|all| !all.is_empty())
    }

    /// The descriptors of a process: where the table's owner is, and their numbers.
    fn descriptors(&self, pid: u32) -> io::Result<Vec<(String, u32)>> {
        let mut found = Vec::new();
        // Threads may have descriptors of their own, and outlive the one that the process is named
        // by.
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

    /// A small file, as text.
    pub(super) fn read(&self, path: &str) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes(path)?).into_owned())
    }

    /// A small file.
    pub(super) fn bytes(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file(path)?.take(LONGEST_FILE).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Where a link of a process leads, as its own words.
    pub(super) fn link(&self, path: &str) -> Option<Vec<u8>> {
        rustix::fs::readlinkat(&self.0, path, Vec::new()).ok().map(|it| it.into_bytes())
    }

    /// What an open file is, if it may matter.
    fn open_file(&self, path: &str) -> Option<Open> {
        let status = statat(&self.0, path, AtFlags::empty()).ok()?;
        match FileType::from_raw_mode(status.st_mode) {
            FileType::CharacterDevice => {
                let number = status.st_rdev;
                Some(Open::Device((rustix::fs::major(number), rustix::fs::minor(number))))
            }
            // On sysfs every file has a page, whatever it says.
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

    /// The number of the mount namespace of process 1: its file's inode number (fs/nsfs.c), 32 bits
    /// of it.
    pub(super) fn init_mnt_ns(&self) -> io::Result<u32> {
        let number = statat(&self.0, "1/ns/mnt", AtFlags::empty())?.st_ino;
        u32::try_from(number).map_err(io::Error::other)
    }

    /// Whether two processes, by number or `self`, execute the same file.
    pub(super) fn execute_the_same(&self, one: &str, other: &str) -> bool {
        let executable = |it: &str| {
            let status = statat(&self.0, format!("{it}/exe"), AtFlags::empty()).ok()?;
            Some((status.st_dev, status.st_ino))
        };
        executable(one).is_some_and(|it| Some(it) == executable(other))
    }

    /// What is known of a file of a process, or behind a link of it; where it is mounted as well.
    pub(super) fn status(&self, path: &str) -> io::Result<Statx> {
        let flags = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        Ok(statx(&self.0, path, AtFlags::empty(), flags)?)
    }

    /// Whether names lead this process where they lead process 1: both have the same root, on the
    /// same mount, which is of one namespace.
    pub(super) fn finds_as_first(&self) -> io::Result<bool> {
        let (own, first) = (self.status("self/root")?, self.status("1/root")?);
        // Since 5.8 the kernel says which mount it is.
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

/// Goes into the mount namespace of process 1 and to its root, whatever the caller mounted in a
/// namespace of its own. A process that is there keeps its working directory. What another process
/// shares its root with (`CLONE_FS`, which execve(2) leaves) is shared no more: that one could give
/// it another root later.
///
/// # Errors
/// When this process has other threads, or may not.
pub fn enter_first_mounts() -> io::Result<()> {
    // SAFETY: only the root and the working directory become this thread's own.
    unsafe { unshare_unsafe(UnshareFlags::FS)? };
    let processes = Processes::open()?;
    if processes.finds_as_first()? {
        return Ok(());
    }
    let mounts = processes.file("1/ns/mnt")?;
    Ok(move_into_link_name_space(mounts.as_fd(), Some(LinkNameSpaceType::Mount))?)
}

/// A command that begins the executable which this process executes, whatever became of its name.
#[must_use]
pub fn this_program() -> Command {
    /// By the working directory: a path could lead to what is mounted over `/proc`.
    const EXECUTABLE: &str = "self/exe";
    let Some(machine) = Processes::of_machine() else {
        return Command::new(Path::new("/proc").join(EXECUTABLE));
    };
    let mut command = Command::new(EXECUTABLE);
    // SAFETY: between fork and exec only fchdir(2) is called.
    unsafe { command.pre_exec(move || Ok(rustix::process::fchdir(machine)?)) };
    command
}

/// The processor that a file starts, by where it is: `…/cpu/cpu7/online`,
/// `…/cpu/cpu7/hotplug/target`.
fn processor_of(path: &[u8]) -> Option<u32> {
    let path = str::from_utf8(path).ok()?;
    let folder = path.strip_suffix("/online").or_else(|| path.strip_suffix("/hotplug/target"))?;
    folder.rsplit_once("/cpu/cpu")?.1.parse().ok()
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

    /// Check that what starts a processor is known by where it is, and nothing else.
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
