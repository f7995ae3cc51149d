//! The BPF file system, on which the guard is pinned.

use std::io;
use std::path::{Path, PathBuf};

use aya::maps::MapError;
use rustix::fs::statfs;

/// Where the BPF file system is mounted.
pub(super) const BPFFS: &str = "/sys/fs/bpf";
/// The file system that it is mounted on.
pub(super) const SYSFS: &str = "/sys";
/// The folder of the guard's pins.
pub(super) const PINS: &str = "/sys/fs/bpf/watchdog";

/// Why pins cannot be made, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The BPF file system is not mounted at its usual place.
    #[error(
        "{BPFFS} is not a BPF file system. Without one, the guard would end with its process. \
         Mount it: mount -t bpf bpf {BPFFS}"
    )]
    NoFileSystem,
    /// It is not the file system that process 1 has there.
    #[error(
        "{BPFFS} is not the file system that process 1 has there, and would vanish with this \
         mount namespace: run the watchdog where {BPFFS} is the machine's own"
    )]
    Private,
    /// A file or folder cannot be used.
    #[error("the pin {path} cannot be {done}")]
    File {
        /// The file.
        path: PathBuf,
        /// The operation that failed.
        done: &'static str,
        /// The kernel's error.
        #[source]
        error: io::Error,
    },
    /// A table cannot be opened.
    #[error(
        "the guard's table {path} cannot be used: only the executable that armed the guard may \
         use it, without a tracer and without a seccomp filter"
    )]
    Table {
        /// Its pin.
        path: PathBuf,
        /// aya's error.
        #[source]
        error: MapError,
    },
    /// The guard was not released, or another descriptor keeps it.
    #[error("the guard in {0} was not removed: the kernel still holds its programs")]
    Stays(PathBuf),
}

/// Whether a path is on a BPF file system.
pub(super) fn is_bpf(path: &Path) -> bool {
    /// `BPF_FS_MAGIC` (include/uapi/linux/magic.h).
    const BPF_FS: i64 = 0xcafe_4a11;
    statfs(path).map(|status| status.f_type) == Ok(BPF_FS)
}
