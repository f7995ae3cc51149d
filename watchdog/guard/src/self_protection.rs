//! Self-protection: registers the guard's own objects with its programs.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData, MapInfo};
use watchdog_common::{FileKey, SIEVED, State, file_kind, object_kind};

use super::bpffs::{BPFFS, PINS, SYSFS};
use super::control_groups::RootCgroup;
use super::error::GuardError;
use super::pins::Generation;
use super::processes::Processes;
pub(super) use super::self_probes::SelfProbes;

/// Leads to the executable by its inode, even if its file was renamed or removed.
const EXECUTABLE: &str = "self/exe";
/// The table and the program that no process may open, not even the watchdog.
const CANARY_TABLE: &str = "DECOY";
const CANARY_PROGRAM: &str = "bpf_prog";

/// Pins every table. Returns their ids, each with its kind: the canary, or a protected table.
pub(super) fn pin_tables(
    programs: &Ebpf,
    generation: &Generation,
) -> Result<Vec<(u32, u32)>, GuardError> {
    let mut ids = Vec::new();
    for (name, table) in programs.maps() {
        // Tables of constants are frozen. They have a dot in their name, which a pin cannot have.
        if name.contains('.') {
            continue;
        }
        let is_canary = name == CANARY_TABLE;
        let path = if is_canary { generation.canary() } else { generation.table(name) };
        table.pin(&path).map_err(|error| GuardError::Pin(path.clone(), error.into()))?;
        let info = MapInfo::from_pin(&path)?;
        ids.push((info.id(), if is_canary { object_kind::CANARY } else { object_kind::PROTECTED }));
    }
    Ok(ids)
}

/// Registers the ids of the guard's tables and programs. Returns the ids of the programs, the
/// canary's first.
pub(super) fn register_ids(
    programs: &mut Ebpf,
    tables: &[(u32, u32)],
) -> Result<Vec<u32>, GuardError> {
    let mut loaded = Vec::new();
    for (name, program) in programs.programs() {
        let Ok(info) = program.info() else { continue };
        let is_canary = name == CANARY_PROGRAM;
        let kind = if is_canary { object_kind::CANARY } else { object_kind::PROTECTED };
        loaded.push((info.id(), kind));
    }
    for (name, ids) in [("MAPS", tables), ("PROGRAMS", loaded.as_slice())] {
        let table = programs.map_mut(name).ok_or(GuardError::Missing(name))?;
        let mut table: HashMap<&mut MapData, u32, u32> = HashMap::try_from(table)?;
        ids.iter().try_for_each(|(id, kind)| table.insert(id, kind, 0))?;
    }
    loaded.sort_by_key(|(_, kind)| *kind != object_kind::CANARY);
    Ok(loaded.into_iter().map(|(id, _)| id).collect())
}

/// Registers the guard's files with the programs: they register each file that this process opens.
/// `protected_files` are files and folders that only the watchdog may write. Missing ones are left
/// out.
pub(super) fn register_files(
    state: &mut Array<MapData, State>,
    generation: &Generation,
    protected_files: &[PathBuf],
    processes: &Processes,
) -> Result<(), GuardError> {
    let root = RootCgroup::open().ok();
    let cgroups = root.as_ref().map(|it| own_cgroups(it, processes)).unwrap_or_default();
    let owned = |paths: &[&Path]| paths.iter().map(|path| path.to_path_buf()).collect::<Vec<_>>();
    // A later registration of a file replaces an earlier one: a folder above may itself be
    // protected.
    let kinds = [
        (file_kind::ABOVE, above(protected_files, processes)),
        (file_kind::MOUNT, owned(&[Path::new(BPFFS), Path::new(SYSFS), Path::new("/")])),
        (file_kind::PINS, owned(&[generation.place(), generation.directory()])),
        (file_kind::CGROUP, cgroups),
        (
            file_kind::PROTECTED,
            protected_files.iter().filter(|path| path.exists()).cloned().collect(),
        ),
    ];
    set_registering(state, file_kind::EXECUTABLE)?;
    let opened = processes.file(EXECUTABLE);
    set_registering(state, file_kind::NONE)?;
    opened.map_err(|error| GuardError::Register(Path::new("/proc").join(EXECUTABLE), error))?;
    for (kind, paths) in kinds {
        set_registering(state, kind)?;
        let opened = paths.iter().try_for_each(|path| {
            File::open(path).map(drop).map_err(|error| GuardError::Register(path.clone(), error))
        });
        set_registering(state, file_kind::NONE)?;
        opened?;
    }
    Ok(())
}

/// Makes the programs protect the files of an earlier guard too. Their paths may lead to other
/// files by now.
pub(super) fn protect_files_of(
    earlier: &Generation,
    programs: &mut Ebpf,
) -> Result<(), GuardError> {
    let earlier: HashMap<MapData, FileKey, u32> = earlier.open("FILES", Map::HashMap)?;
    let mut protected_files: Vec<(FileKey, u32)> = earlier.iter().collect::<Result<_, _>>()?;
    protected_files.retain(|(_, kind)| matches!(*kind, file_kind::PROTECTED | file_kind::ABOVE));
    let sieve = programs.map_mut("SIEVE").ok_or(GuardError::Missing("SIEVE"))?;
    let mut sieve: Array<&mut MapData, [u8; SIEVED]> = Array::try_from(sieve)?;
    let mut marks = sieve.get(&0, 0)?;
    for (key, _) in &protected_files {
        if let Some(mark) = marks.get_mut(key.sieved()) {
            *mark = 1;
        }
    }
    sieve.set(0, marks, 0)?;
    let files = programs.map_mut("FILES").ok_or(GuardError::Missing("FILES"))?;
    let mut files: HashMap<&mut MapData, FileKey, u32> = HashMap::try_from(files)?;
    // The kind that this watchdog registered for a file takes precedence.
    let new = protected_files
        .into_iter()
        .filter(|(key, _)| files.get(key, 0).is_err())
        .collect::<Vec<_>>();
    Ok(new.into_iter().try_for_each(|(key, kind)| files.insert(key, kind, 0))?)
}

/// The folders above the pins, the executable and the protected files, with all links resolved.
fn above(protected_files: &[PathBuf], processes: &Processes) -> Vec<PathBuf> {
    let executable = processes.link(EXECUTABLE).unwrap_or_default();
    let executable = Path::new(OsStr::from_bytes(&executable));
    let all = protected_files.iter().map(PathBuf::as_path).chain([Path::new(PINS), executable]);
    let real = all.filter_map(|path| fs::canonicalize(path).ok());
    let mut above: Vec<PathBuf> = real
        .flat_map(|path| path.ancestors().skip(1).map(Path::to_owned).collect::<Vec<_>>())
        .collect();
    above.sort();
    above.dedup();
    above
}

fn set_registering(state: &mut Array<MapData, State>, kind: u32) -> Result<(), GuardError> {
    let mut now = state.get(&0, 0)?;
    now.registering = kind;
    Ok(state.set(0, now, 0)?)
}

/// The control group of this process and all groups above it, except the root, which cannot be
/// frozen or killed.
fn own_cgroups(root: &RootCgroup, processes: &Processes) -> Vec<PathBuf> {
    let groups = processes.read("self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let own = Path::new(own);
    let above = own.ancestors().filter(|group| !group.as_os_str().is_empty());
    above.map(|group| root.group(group)).filter(|path| path.is_dir()).collect()
}
