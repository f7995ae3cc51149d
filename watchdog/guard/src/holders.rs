//! What keeps the guard's pins when their file system is no longer mounted at `/sys/fs/bpf`. An
//! open descriptor of the pins' folder keeps its file system alive. This process has one. Process 1
//! keeps another for it (`FDSTORE=1`, sd_pid_notify_with_fds(3)), also while the service restarts.

use std::fs::{self, File, Metadata};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libsystemd::daemon::{self, NotifyState};
use rustix::fs::{FileType, Statx, major, minor};

use super::bpffs::{BPFFS, PINS, PinError, is_bpf};
use super::processes::{Device, Processes};

/// The descriptors of process 1, below `/proc`.
const OF_PROCESS_ONE: &str = "1/fd";
/// What process 1 sees, below `/proc`.
const ROOT_OF_PROCESS_ONE: &str = "1/root";
/// The name of the descriptor in process 1's store.
const NAME: &str = "guard-pins";
/// How often the holders of the pins are checked.
const HOLDERS_INTERVAL: Duration = Duration::from_secs(10);

/// The holders of the pins of the guard in force.
#[derive(Debug)]
pub(super) struct Holders {
    folder: File,
    /// Whether process 1 stored a descriptor: not every watchdog is a service of process 1.
    is_stored: bool,
    looked: Instant,
    lost: Vec<&'static str>,
}

/// Holders of the pins, as events name them when they are lost.
const BY_PATH: &str = "the mount at /sys/fs/bpf";
const BY_STORE: &str = "process 1's file descriptor store";

impl Holders {
    /// Opens the folder of the pins, and hands a descriptor of it to process 1.
    pub(super) fn hold(folder: &Path) -> Result<Self, PinError> {
        let failed = |error| PinError::File { path: folder.to_owned(), done: "opened", error };
        let folder = File::open(folder).map_err(failed)?;
        let is_stored = store(&folder);
        Ok(Self { folder, is_stored, looked: Instant::now(), lost: Vec::new() })
    }

    /// Checks the holders once per [`HOLDERS_INTERVAL`]. Returns those that were lost since the
    /// last check.
    pub(super) fn newly_lost(&mut self) -> Vec<&'static str> {
        if self.looked.elapsed() < HOLDERS_INTERVAL {
            return Vec::new();
        }
        self.looked = Instant::now();
        let Ok(own) = self.folder.metadata().map(|it| Place::of(&it)) else { return Vec::new() };
        let mut lost = Vec::new();
        if seen_by_process_one(PINS).as_ref() != Some(&own) {
            lost.push(BY_PATH);
        }
        if self.is_stored && !kept_by_process_one().any(|(_, it)| it == own) {
            lost.push(BY_STORE);
            // Another process may have made process 1 drop the descriptor, so it gets another.
            store(&self.folder);
        }
        let new = lost.iter().filter(|it| !self.lost.contains(it)).copied().collect();
        self.lost = lost;
        new
    }
}

/// Hands a descriptor to process 1. Returns whether a service manager received the message.
fn store(folder: &File) -> bool {
    let words =
        [NotifyState::Fdstore, NotifyState::Fdname(NAME.to_owned()), NotifyState::FdpollDisable];
    daemon::notify_with_fds(false, &words, &[folder.as_raw_fd()]).unwrap_or_else(|error| {
        log::warn!("the guard's pins could not be handed to process 1: {error}");
        false
    })
}

/// The identity of a folder, wherever it is mounted: the device of its file system, and its inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    device: Device,
    inode: u64,
}

impl Place {
    fn of(status: &Metadata) -> Self {
        let device = status.dev();
        Self { device: (major(device), minor(device)), inode: status.ino() }
    }

    fn of_entry(status: &Statx) -> Self {
        Self { device: (status.stx_dev_major, status.stx_dev_minor), inode: status.stx_ino }
    }
}

/// The folders with pins: the one that is mounted, and those that only process 1 still has open.
pub(super) fn folders() -> Vec<PathBuf> {
    let mounted = fs::metadata(PINS).ok().map(|it| Place::of(&it));
    let mut found: Vec<(PathBuf, Option<Place>)> = vec![(PINS.into(), mounted)];
    for (path, place) in kept_by_process_one() {
        if found.iter().all(|(_, known)| *known != Some(place)) {
            found.push((path, Some(place)));
        }
    }
    found.into_iter().map(|(path, _)| path).collect()
}

/// The folder that process 1 has at a path.
fn seen_by_process_one(path: &str) -> Option<Place> {
    let status = Processes::of_machine()?.status(&format!("{ROOT_OF_PROCESS_ONE}{path}"));
    status.ok().map(|it| Place::of_entry(&it))
}

/// Folders on a BPF file system that process 1 has open and that still have a name.
fn kept_by_process_one() -> impl Iterator<Item = (PathBuf, Place)> {
    let machine = Processes::of_machine();
    let numbers = machine.and_then(|it| it.numbers(OF_PROCESS_ONE).ok()).unwrap_or_default();
    let folders = numbers.into_iter().filter_map(move |number| {
        let name = format!("{OF_PROCESS_ONE}/{number}");
        let status = machine?.status(&name).ok()?;
        let is_folder = FileType::from_raw_mode(status.stx_mode.into()) == FileType::Directory;
        let path = Path::new("/proc").join(name);
        (is_folder && status.stx_nlink > 0).then(|| (path, Place::of_entry(&status)))
    });
    folders.filter(|(path, _)| is_bpf(path))
}

/// Where a new guard can make its pins: at [`PINS`] if process 1 has the same file system there.
/// Otherwise in a folder that process 1 has open.
pub(super) fn place() -> Result<PathBuf, PinError> {
    let here = fs::metadata(BPFFS).ok().map(|it| Place::of(&it));
    let is_there = is_bpf(Path::new(BPFFS));
    if is_there && here.is_some() && here == seen_by_process_one(BPFFS) {
        return Ok(PINS.into());
    }
    if let Some((path, _)) = kept_by_process_one().next() {
        return Ok(path);
    }
    Err(if is_there { PinError::Private } else { PinError::NoFileSystem })
}
