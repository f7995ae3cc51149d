//! What keeps the guard's pins when nothing is mounted at `/sys/fs/bpf` any more: an open descriptor of
//! their folder keeps the file system they are on. This process has one, and process 1 keeps another for
//! it (`FDSTORE=1`, sd_pid_notify_with_fds(3)), which stays while the service is started again.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libsystemd::daemon::{self, NotifyState};
use rustix::fs::statfs;

use super::pins::{BPFFS, PINS, PinError};

/// The descriptors of process 1.
const OF_PROCESS_ONE: &str = "/proc/1/fd";
/// What process 1 sees.
const ROOT_OF_PROCESS_ONE: &str = "/proc/1/root";
/// What the descriptor is called in process 1's store.
const NAME: &str = "guard-pins";
/// How often is looked who holds the pins.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Who holds the pins of the guard in force.
#[derive(Debug)]
pub(super) struct Holders {
    folder: File,
    /// Whether process 1 took one: not every watchdog is its service.
    is_stored: bool,
    looked: Instant,
    lost: Vec<&'static str>,
}

/// Holders of the pins that are gone, by what they are.
const BY_PATH: &str = "the mount at /sys/fs/bpf";
const BY_STORE: &str = "process 1's store of descriptors";

impl Holders {
    /// Holds the pins in this folder, and has process 1 hold them.
    pub(super) fn hold(folder: &Path) -> Result<Self, PinError> {
        let failed = |error| PinError::File { path: folder.to_owned(), done: "opened", error };
        let folder = File::open(folder).map_err(failed)?;
        let is_stored = store(&folder);
        Ok(Self { folder, is_stored, looked: Instant::now(), lost: Vec::new() })
    }

    /// Looks now and then who holds the pins; says who no longer does, each once.
    pub(super) fn newly_lost(&mut self) -> Vec<&'static str> {
        if self.looked.elapsed() < LOOK_AGAIN {
            return Vec::new();
        }
        self.looked = Instant::now();
        let Ok(own) = self.folder.metadata() else { return Vec::new() };
        let mut lost = Vec::new();
        let seen = Path::new(ROOT_OF_PROCESS_ONE).join(PINS.trim_start_matches('/'));
        if !fs::metadata(seen).is_ok_and(|it| is_same(&it, &own)) {
            lost.push(BY_PATH);
        }
        if self.is_stored && !kept_by_process_one().any(|(_, it)| is_same(&it, &own)) {
            lost.push(BY_STORE);
            // Process 1 may have been asked to forget it; it is asked to keep another.
            store(&self.folder);
        }
        let new = lost.iter().filter(|it| !self.lost.contains(it)).copied().collect();
        self.lost = lost;
        new
    }
}

/// Gives process 1 a descriptor to keep; whether there is a service manager that was asked.
fn store(folder: &File) -> bool {
    let words =
        [NotifyState::Fdstore, NotifyState::Fdname(NAME.to_owned()), NotifyState::FdpollDisable];
    daemon::notify_with_fds(false, &words, &[folder.as_raw_fd()]).unwrap_or_else(|error| {
        log::warn!("process 1 was not given the guard's pins to keep: {error}");
        false
    })
}

/// Folders with pins: where they are mounted, and those that only process 1 still has.
pub(super) fn folders() -> Vec<PathBuf> {
    let mut found: Vec<(PathBuf, Option<Metadata>)> = vec![(PINS.into(), fs::metadata(PINS).ok())];
    for (path, it) in kept_by_process_one() {
        let is_known = found.iter().flat_map(|(_, it)| it).any(|known| is_same(known, &it));
        if !is_known {
            found.push((path, Some(it)));
        }
    }
    found.into_iter().map(|(path, _)| path).collect()
}

/// Folders on a BPF file system that process 1 has open and that still have a name.
fn kept_by_process_one() -> impl Iterator<Item = (PathBuf, Metadata)> {
    let entries = fs::read_dir(OF_PROCESS_ONE).into_iter().flatten().flatten();
    let folders = entries.filter_map(|entry| {
        let path = entry.path();
        let status = fs::metadata(&path).ok()?;
        (status.is_dir() && status.nlink() > 0).then_some((path, status))
    });
    folders.filter(|(path, _)| is_bpf(path))
}

/// Whether a path is on a BPF file system.
pub(super) fn is_bpf(path: &Path) -> bool {
    /// `BPF_FS_MAGIC` (include/uapi/linux/magic.h).
    const BPF_FS: i64 = 0xcafe_4a11;
    statfs(path).map(|status| status.f_type) == Ok(BPF_FS)
}

/// Where a new guard's pins can be made: where process 1 sees the file system too, else where only
/// descriptors still lead.
pub(super) fn place() -> Result<PathBuf, PinError> {
    let at = |path: &str| fs::metadata(path).map(|status| status.dev());
    let (here, there) = (at(BPFFS), at(&format!("{ROOT_OF_PROCESS_ONE}{BPFFS}")));
    if is_bpf(Path::new(BPFFS)) && same(&here, &there) {
        return Ok(PINS.into());
    }
    if let Some((path, _)) = kept_by_process_one().next() {
        return Ok(path);
    }
    Err(if is_bpf(Path::new(BPFFS)) { PinError::Private } else { PinError::NoFileSystem })
}

fn same(one: &io::Result<u64>, other: &io::Result<u64>) -> bool {
    matches!((one, other), (Ok(one), Ok(other)) if one == other)
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}
