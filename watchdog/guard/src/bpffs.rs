//! The BPF file system, on which the guard is pinned.

use std::io;
use std::path::{Path, PathBuf};

use aya::maps::MapError;
use rustix::fs::statfs;

/// Where the BPF file system is mounted.
pub(super) const BPFFS: &str = "/sys/fs/bpf";
/// The file system that it is mounted on.
pub(super) const SYSFS: &str = "/sys";
/// What the guard keeps there.
pub(super) const PINS: &str = "/sys/fs/bpf/watchdog";

/// Why pins cannot be made, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The BPF file system is not where it should be.
    #[error(
        "{BPFFS} is not a BPF file system. Without one, the guard would end with its process. \
         Mount it: mount -t bpf bpf {BPFFS}"
    )]
    NoFileSystem,
    /// It is another one than process 1 sees.
    #[error(
        "{BPFFS} is not the file system that process 1 has there, and would vanish with this \
         mount namespace: run the watchdog where {BPFFS} is the machine's own"
    )]
    Private,
    /// A file or folder.
    #[error("the pin {path} cannot be {done}")]
    File {
        /// The file.
        path: PathBuf,
        /// What should have been done with it.
        done: &'static str,
        /// What the kernel said.
        #[source]
        error: io::Error,
    },
    /// A table.
    #[error(
        "the guard's table {path} cannot be used: only the executable that armed the guard may \
         use it, without a tracer and without a seccomp filter"
    )]
    Table {
        /// Its pin.
        path: PathBuf,
        /// What aya says.
        #[source]
        error: MapError,
    },
    /// It is not released, or something else keeps it.
    #[error("the guard in {0} was not removed: the kernel still holds its programs")]
    Stays(PathBuf),
}

/// Whether a path is on a BPF file system.
pub(super) fn is_bpf(path: &Path) -> bool {
    /// `BPF_FS_MAGIC` (include/uapi/linux/magic.h).
    const BPF_FS: i64 = 0xcafe_4a11;
    statfs(path).map(|status| status.f_type) == Ok(BPF_FS)
}
