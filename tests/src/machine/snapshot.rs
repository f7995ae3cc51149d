//! A machine that was saved while it ran. Restoring it takes seconds; booting it takes half a
//! minute.
//!
//! The machine's memory is a file that it shares with QEMU. QEMU therefore saves only the state of
//! processors and devices (migration with `x-ignore-shared`), and memory is copied separately. Node
//! 0's changes to its root file system stay in an overlay, and each restored machine puts another
//! overlay on top. Any number of machines can therefore be restored, also at the same time, and
//! none of them changes the snapshot.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::health::Health;
use super::qemu::Disks;
use super::qmp::Qmp;
use super::ram::Ram;
use super::start::Start;
use super::{Builder, Machine, run_directory};
use crate::cache;
use crate::disk::{self, Base};
use crate::truth::Truth;

/// For QEMU to save or load the state of its devices, on a busy host.
const STATE: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

const MANIFEST: &str = "manifest.json";

/// Zeroes the free pages of node 0, so that they become holes in the saved file. 32 MiB stay free.
const CLEAR_FREE_MEMORY: &str = "set -e
free=$(sed -n 's/^MemFree: *\\([0-9]*\\) kB$/\\1/p' /proc/meminfo)
mount -t tmpfs -o size=100% tmpfs /mnt
[ $free -lt 32768 ] || head -c $((free - 32768))k /dev/zero >/mnt/zeros
umount /mnt";

/// A saved machine.
#[derive(Clone, Debug)]
pub struct Snapshot {
    directory: PathBuf,
    manifest: Manifest,
}

/// Description of a saved machine. It is written last, so a snapshot that has one is complete.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Manifest {
    /// What the saved machine was made of.
    key: String,
    /// Distinguishes two machines that were made of the same.
    id: u64,
    disks: Disks,
    /// What its kernels report about their text, by node.
    truths: BTreeMap<u8, Truth>,
}

impl Snapshot {
    /// Returns the snapshot in a directory, if its machine was made of `key`.
    #[must_use]
    pub fn find(directory: &Path, key: &str) -> Option<Self> {
        let manifest = File::open(directory.join(MANIFEST)).ok()?;
        let manifest: Manifest = serde_json::from_reader(manifest).ok()?;
        let is_whole = manifest.key == key && manifest.disks.exist();
        is_whole.then(|| Self { directory: directory.to_owned(), manifest })
    }

    /// Saves a machine in a directory, in place of the directory's content. This ends the machine.
    ///
    /// # Errors
    /// If QEMU or the file system refuses.
    pub fn save(machine: Machine, directory: &Path, key: &str) -> Result<Self> {
        if directory.exists() {
            fs::remove_dir_all(directory)?;
        }
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let nodes = 0..=u8::try_from(machine.services.len())?;
        let truths = nodes.map(|node| Ok((node, machine.truth(node)?))).collect::<Result<_>>()?;
        let cleared = machine.node0().shell(CLEAR_FREE_MEMORY)?;
        ensure!(cleared.success(), "node 0's free memory stays as it is: {cleared}");
        save_state(&machine.qmp, &machine.health, &directory.join("state"))?;
        machine.ram.save(&directory.join("ram"))?;
        let disks = machine.end(|disks| {
            Ok(Disks {
                root: keep(&disks.root, directory)?,
                host: keep(&disks.host, directory)?,
                initramfs: keep(&disks.initramfs, directory)?,
                modules: disks.modules.clone(),
            })
        })?;
        let manifest = Manifest { key: key.to_owned(), id: rand::random(), disks, truths };
        fs::write(directory.join(MANIFEST), serde_json::to_vec_pretty(&manifest)?)?;
        Ok(Self { directory: directory.to_owned(), manifest })
    }

    /// Returns the part of a key that identifies this snapshot, for snapshots of machines restored
    /// from it.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{:016x}", self.manifest.id)
    }

    /// Restores a machine that continues where the saved one was. The builder must describe it
    /// equally.
    ///
    /// # Errors
    /// If QEMU refuses the state, or node 0 does not answer.
    pub fn restore(&self, mut builder: Builder) -> Result<Machine> {
        let kernel = builder.settle()?;
        let directory = run_directory::create()?;
        let saved = &self.manifest.disks;
        let disks = Disks { root: directory.path().join("root.qcow2"), ..saved.clone() };
        disk::overlay(Base::Overlay(&saved.root), &disks.root)?;
        let ram = Ram::load(&self.directory.join("ram"))?;
        let state = self.directory.join("state");
        let truths = self.manifest.truths.clone();
        let start = Start { disks, incoming: Some(&state), truths, terminal: None };
        builder.launch(directory, &kernel, ram, start)
    }
}

/// Returns the snapshot of this name in the cache. If there is none for this description and `key`,
/// `make` makes the machine, and other processes that want the snapshot wait.
///
/// # Errors
/// If the machine cannot be made or saved.
pub fn kept(
    name: &str,
    machine: &Builder,
    key: &str,
    make: impl FnOnce() -> Result<Machine>,
) -> Result<Snapshot> {
    let all = cache::directory().join("snapshots");
    fs::create_dir_all(&all).with_context(|| format!("cannot create {}", all.display()))?;
    let lock = File::create(all.join(format!("{name}.lock")))?;
    lock.lock().with_context(|| format!("cannot lock the snapshot {name}"))?;
    let key = format!("{}\n{key}", machine.made_of()?);
    let directory = all.join(name);
    if let Some(snapshot) = Snapshot::find(&directory, &key) {
        return Ok(snapshot);
    }
    let machine = make().with_context(|| format!("the machine `{name}` was not made ready"))?;
    Snapshot::save(machine, &directory, &key)
}

/// Moves a file of a run to a snapshot. A file of another snapshot stays where it is.
fn keep(file: &Path, directory: &Path) -> Result<PathBuf> {
    if !run_directory::holds(file) {
        return Ok(file.to_owned());
    }
    let place = directory.join(file.file_name().context("a disk without a name")?);
    fs::rename(file, &place).with_context(|| format!("cannot keep {}", file.display()))?;
    Ok(place)
}

/// Stops the machine and saves everything except its memory.
fn save_state(qmp: &Qmp, health: &Health, file: &Path) -> Result<()> {
    qmp.execute("stop", json!({}))?;
    leave_memory_alone(qmp)?;
    qmp.execute("migrate-set-parameters", json!({ "max-bandwidth": 1_u64 << 33 }))?;
    qmp.execute("migrate", json!({ "uri": format!("file:{}", file.display()) }))?;
    wait(qmp, health, "save")
}

/// Loads a state of [`save_state`] into a machine that waits for it, and resumes the machine.
pub(super) fn load_state(qmp: &Qmp, health: &Health, file: &Path) -> Result<()> {
    leave_memory_alone(qmp)?;
    qmp.execute("migrate-incoming", json!({ "uri": format!("file:{}", file.display()) }))?;
    wait(qmp, health, "load")?;
    qmp.execute("cont", json!({})).map(drop)
}

fn leave_memory_alone(qmp: &Qmp) -> Result<()> {
    let capability = json!({ "capability": "x-ignore-shared", "state": true });
    qmp.execute("migrate-set-capabilities", json!({ "capabilities": [capability] })).map(drop)
}

fn wait(qmp: &Qmp, health: &Health, what: &str) -> Result<()> {
    health.wait(&format!("QEMU does not {what} the machine's state"), STATE, POLL_INTERVAL, || {
        let migration = qmp.execute("query-migrate", json!({}))?;
        match migration["status"].as_str() {
            Some("completed") => Ok(Some(())),
            Some("failed" | "cancelled") => bail!("QEMU did not {what} the state: {migration}"),
            _ => Ok(None),
        }
    })
}
