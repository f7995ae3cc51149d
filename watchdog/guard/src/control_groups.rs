//! The root of all control groups.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::fs::fstatfs;

/// The mount of the root control group, which contains every process.
pub(super) const ROOT_CGROUP: &str = "/sys/fs/cgroup";

/// Opens the root control group, and checks that it is the root: another group may be mounted over
/// it.
pub(super) fn root_cgroup() -> io::Result<File> {
    /// `CGROUP2_SUPER_MAGIC` (include/uapi/linux/magic.h).
    const CGROUPS: i64 = 0x6367_7270;
    /// The first inode number of `kernfs_create_root()` (fs/kernfs/dir.c, 6.1 to 7.2).
    const FIRST: u64 = 1;
    let group = File::open(ROOT_CGROUP)?;
    if fstatfs(&group)?.f_type == CGROUPS && group.metadata()?.ino() == FIRST {
        return Ok(group);
    }
    Err(io::Error::other("the mount there is not the root of all control groups"))
}
