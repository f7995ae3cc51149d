//! Pins: they keep a guard in force when the process that armed it is gone.
//!
//! Every guard has its own folder below `/sys/fs/bpf/watchdog`, named by an increasing number. The
//! folder has the guard's tables, the links of its programs, and the programs on the root cgroup,
//! which have no link. A new guard is pinned beside the one in force. The old guard is removed only
//! after the new one was tested and put in force.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use aya::maps::{Array, Map, MapData, MapError};
use watchdog_common::State;

use super::bpf::{self, CgroupHook};
use super::bpffs::{PINS, PinError};
use super::control_groups::RootCgroup;
use super::holders;

/// Programs on the root cgroup: the names of their pins, and their hooks.
const ON_CGROUP: [(&str, CgroupHook); 2] =
    [("cgroup-sysctl", CgroupHook::Settings), ("cgroup-device", CgroupHook::Device)];
/// The table with the state and the record.
const STATE: &str = "STATE";
/// The prefix of the pins of links.
const LINK: &str = "link-";
/// The prefix of the pins of programs that make lists.
const LISTING: &str = "list-";
/// The canary's pin: the guard lets no process open, remove or rename it.
const CANARY: &str = "decoy";
/// How long the kernel may take to release a link after its last pin is removed.
pub(super) const RELEASE_TIMEOUT: Duration = Duration::from_secs(10);

/// The pins of one guard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Generation {
    number: u64,
    directory: PathBuf,
}

impl Generation {
    /// Makes the folder of a new guard, with a number above all others.
    pub(super) fn create() -> Result<Self, PinError> {
        let place = holders::place()?;
        make_directory(&place)?;
        let number = Self::all()?.last().map_or(1, |last| last.number.saturating_add(1));
        let directory = place.join(number.to_string());
        make_directory(&directory)?;
        Ok(Self { number, directory })
    }

    /// All pinned guards, the oldest first.
    pub(super) fn all() -> Result<Vec<Self>, PinError> {
        let mut all = Vec::new();
        for folder in holders::folders() {
            all.extend(Self::all_in(&folder)?);
        }
        all.sort();
        Ok(all)
    }

    fn all_in(folder: &Path) -> Result<Vec<Self>, PinError> {
        let failed = |error| PinError::File { path: folder.to_owned(), done: "listed", error };
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut all = Vec::new();
        for entry in entries {
            let directory = entry.map_err(failed)?.path();
            let number = directory.file_name().and_then(|name| name.to_str()?.parse().ok());
            all.extend(number.map(|number| Self { number, directory }));
        }
        Ok(all)
    }

    /// The folder that contains the folders of all guards.
    pub(super) fn place(&self) -> &Path {
        self.directory.parent().unwrap_or(Path::new(PINS))
    }

    /// The guard's folder.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where a table is pinned.
    pub(super) fn table(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Where the link of a program is pinned.
    pub(super) fn link(&self, program: &str) -> PathBuf {
        self.directory.join(format!("{LINK}{program}"))
    }

    /// Where a program that makes lists is pinned.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{LISTING}{name}"))
    }

    /// Where a program on the root cgroup is pinned.
    pub(super) fn on_cgroup(&self, hook: CgroupHook) -> PathBuf {
        let named = ON_CGROUP.iter().find(|(_, it)| *it == hook);
        self.directory.join(named.map_or_else(String::new, |(name, _)| (*name).to_owned()))
    }

    /// The canary's pin.
    pub(super) fn canary(&self) -> PathBuf {
        self.directory.join(CANARY)
    }

    /// Opens a table.
    pub(super) fn open<T>(&self, name: &str, kind: fn(MapData) -> Map) -> Result<T, PinError>
    where
        T: TryFrom<Map, Error = MapError>,
    {
        let path = self.table(name);
        MapData::from_pin(&path)
            .and_then(|data| T::try_from(kind(data)))
            .map_err(|error| PinError::Table { path, error })
    }

    /// The table with the state and the record; `None` if the guard does not have it yet.
    pub(super) fn state(&self) -> Result<Option<Array<MapData, State>>, PinError> {
        if !self.table(STATE).exists() {
            return Ok(None);
        }
        self.open(STATE, Map::Array).map(Some)
    }

    /// Takes the guard down; it must be released before. Removes the links and programs first, then
    /// the tables.
    pub(super) fn remove(&self) -> Result<(), PinError> {
        let failed = |error| PinError::File { path: self.directory.clone(), done: "listed", error };
        let mut others = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let on_cgroup = ON_CGROUP.iter().find(|(it, _)| *it == name);
            match on_cgroup {
                Some((_, hook)) => detach(&path, *hook)?,
                None if name.starts_with(LINK) => unlink(&path)?,
                None => others.push(path),
            }
        }
        others.iter().try_for_each(|path| unlink(path))?;
        // The kernel releases programs with a delay.
        let begun = Instant::now();
        while let Err(error) = fs::remove_dir(&self.directory) {
            if error.kind() == io::ErrorKind::NotFound {
                break;
            }
            if begun.elapsed() > RELEASE_TIMEOUT {
                return Err(PinError::Stays(self.directory.clone()));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// Removes the folder of all guards if it is empty.
pub(super) fn remove_empty() {
    let _ = fs::remove_dir(PINS);
}

fn make_directory(path: &Path) -> Result<(), PinError> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(PinError::File { path: path.to_owned(), done: "made", error }),
    }
}

fn unlink(path: &Path) -> Result<(), PinError> {
    fs::remove_file(path).map_err(|error| PinError::File {
        path: path.to_owned(),
        done: "removed",
        error,
    })
}

/// Detaches a program on the root cgroup, and removes its pin.
fn detach(path: &Path, hook: CgroupHook) -> Result<(), PinError> {
    let failed = |error| PinError::File { path: path.to_owned(), done: "detached", error };
    let program = bpf::pinned(path).map_err(failed)?;
    let root = RootCgroup::open().map_err(failed)?;
    match bpf::detach_from_cgroup(root.directory(), program.as_fd(), hook) {
        // The program was pinned, but no longer attached.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => result.map_err(failed)?,
    }
    unlink(path)
}
