//! The root of all control groups.
//!
//! Programs attach to the root of the version 2 hierarchy, which contains every process, also where
//! systemd uses version 1. In hybrid mode systemd mounts that hierarchy at
//! `/sys/fs/cgroup/unified`. With version 1 alone it is not mounted.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, fstatfs, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use super::processes::Processes;

/// The usual mount of the root control group.
const USUAL: &str = "/sys/fs/cgroup";
/// The most mounts that are tried: any user with a mount namespace can make more.
const MOUNTS: usize = 64;

/// The root control group.
#[derive(Debug)]
pub(super) struct RootCgroup {
    directory: File,
    place: PathBuf,
}

impl RootCgroup {
    /// Opens the root control group, wherever it is mounted. If no mount shows it, makes a mount
    /// that only this process can reach.
    ///
    /// # Errors
    /// The operating system's. Also if another group is mounted over the usual place.
    pub(super) fn open() -> io::Result<Self> {
        match open_directory(Path::new(USUAL)) {
            Ok(group) if is_root(&group) => return Ok(Self::at(group, USUAL)),
            Ok(group) if is_group(&group) => {
                return Err(io::Error::other(format!(
                    "the mount at {USUAL} is not the root of all control groups"
                )));
            }
            _ => {}
        }
        let mounts = Processes::of_machine().and_then(|it| it.bytes("self/mountinfo").ok());
        let places = mounts.map(|it| mounted_at(&it)).unwrap_or_default();
        for place in places {
            if let Ok(group) = open_directory(&place)
                && is_root(&group)
            {
                return Ok(Self::at(group, place));
            }
        }
        let group = mount()?;
        let place = format!("/proc/self/fd/{}", group.as_raw_fd());
        Ok(Self::at(group, place))
    }

    fn at(directory: File, place: impl Into<PathBuf>) -> Self {
        Self { directory, place: place.into() }
    }

    /// The directory, for the calls that take its descriptor.
    pub(super) const fn directory(&self) -> &File {
        &self.directory
    }

    /// The path of a group, which is valid while this exists.
    pub(super) fn group(&self, group: &Path) -> PathBuf {
        self.place.join(group.strip_prefix("/").unwrap_or(group))
    }
}

fn open_directory(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty()).map(File::from)?)
}

/// Whether a directory is a control group of version 2.
fn is_group(directory: &File) -> bool {
    /// `CGROUP2_SUPER_MAGIC` (include/uapi/linux/magic.h).
    const CGROUPS: i64 = 0x6367_7270;
    fstatfs(directory).is_ok_and(|it| it.f_type == CGROUPS)
}

/// Whether a directory is the root of all control groups of version 2. The root of another control
/// group namespace, or a mount of a single group, has another inode.
fn is_root(directory: &File) -> bool {
    /// The first inode number of `kernfs_create_root()` (fs/kernfs/dir.c, 6.1 to 7.2).
    const FIRST: u64 = 1;
    is_group(directory) && directory.metadata().is_ok_and(|it| it.ino() == FIRST)
}

/// The places where the hierarchy of version 2 is mounted, by `/proc/self/mountinfo`
/// (`show_mountinfo()`, fs/proc_namespace.c, 6.1). A line: `30 25 0:26 / /sys/fs/cgroup/unified
/// rw,nosuid - cgroup2 cgroup2 rw`.
fn mounted_at(mounts: &[u8]) -> Vec<PathBuf> {
    let place = |line: &[u8]| {
        let mut words = line.split(|byte| *byte == b' ');
        let place = words.nth(4)?;
        let mut kind = words.skip_while(|word| *word != b"-").skip(1);
        (kind.next()? == b"cgroup2").then(|| OsString::from_vec(unescaped(place)).into())
    };
    mounts.split(|byte| *byte == b'\n').filter_map(place).take(MOUNTS).collect()
}

/// A path of mountinfo, in which a space is `\040` (`mangle_path()`, fs/seq_file.c).
fn unescaped(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [first, behind @ ..] = rest {
        let digits = behind.get(..3).filter(|_| *first == b'\\');
        let code = digits.and_then(|it| u8::from_str_radix(str::from_utf8(it).ok()?, 8).ok());
        plain.push(code.unwrap_or(*first));
        rest = if code.is_some() { behind.get(3..).unwrap_or_default() } else { behind };
    }
    plain
}

/// Mounts the hierarchy of version 2 at no place: only the descriptor leads to it.
fn mount() -> io::Result<File> {
    let system = fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&system)?;
    let mounted: OwnedFd =
        fsmount(&system, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = File::from(openat(&mounted, ".", flags, Mode::empty())?);
    if is_root(&root) {
        return Ok(root);
    }
    Err(io::Error::other("a new mount of cgroup2 is not the root of all control groups"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that mounts of version 2 are found at any place, with optional fields and escapes, in
    /// hybrid mode and as bind mounts, and that version 1 and other lines are not.
    #[test]
    fn mounts() {
        let hybrid = b"\
24 30 0:22 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,size=4096k
25 24 0:23 / /sys/fs/cgroup/unified rw,nosuid shared:5 master:2 - cgroup2 cgroup2 rw
26 24 0:24 / /sys/fs/cgroup/systemd rw,nosuid shared:6 - cgroup cgroup rw,name=systemd
27 1 0:23 /a.slice /mnt/with\\040space\\134 rw - cgroup2 cgroup2 rw
28 1 0:25 / /cgroup2 rw - ext4 /dev/cgroup2 rw
29 1 0:25
";
        let places = mounted_at(hybrid);
        assert_eq!(
            places,
            ["/sys/fs/cgroup/unified", "/mnt/with space\\"].map(PathBuf::from).to_vec()
        );
        assert!(mounted_at(b"\n - cgroup2\n").is_empty());
        let many = b"1 1 0:1 / /x rw - cgroup2 a rw\n".repeat(MOUNTS + 9);
        assert_eq!(mounted_at(&many).len(), MOUNTS);
        assert_eq!(unescaped(b"\\04"), b"\\04");
    }

    /// Check the path of a group below the root, and that another directory is not a group.
    #[test]
    fn groups() {
        let root = RootCgroup::at(File::open("/proc").unwrap(), "/proc");
        assert_eq!(root.group(Path::new("/a.slice/b")), Path::new("/proc/a.slice/b"));
        assert_eq!(root.group(Path::new("a.slice")), Path::new("/proc/a.slice"));
        assert!(!is_root(root.directory()) && !is_group(root.directory()));
    }
}
