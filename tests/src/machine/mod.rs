//! The machine: one QEMU with node 0 (Debian and systemd) and service nodes, and the host's access
//! to all of them.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use watchdog_tests::machine::Machine;
//!
//! let machine = Machine::builder().kernel("6.12").service_kernel(2, "7.2").boot()?;
//! let output = machine.node0().run(["uname", "-r"])?;
//! assert!(output.success());
//! let text = machine.truth(1)?;
//! let mut first = [0; 16];
//! machine.ram().read(text.text_phys_start, &mut first)?;
//! # Ok(())
//! # }
//! ```
//!
//! Under emulation on two cores, node 0 with Debian's 6.1, 6.12 or 7.2 boots in 10 to 16 s. Each
//! service node takes another 4 to 9 s.
//!
//! A machine ends with its [`Machine`], and with the process that made it, however that process
//! ends. Its memory has no name in any file system, so nothing remains. If a run fails, the nodes'
//! consoles are kept.

mod builder;
pub(crate) mod console;
mod health;
mod node0;
pub(crate) mod qemu;
pub(crate) mod qmp;
mod ram;
pub(crate) mod run_directory;
mod service_node;
pub mod snapshot;
mod start;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use xtask::kernels::VERSIONS;

pub use self::{
    builder::{Builder, Node},
    health::Health,
    node0::{Node0, Output, Process},
    ram::Ram,
    service_node::ServiceNode,
    snapshot::Snapshot,
};
use crate::{starved, truth::Truth};

/// From the loader's start until a service node answers, under emulation on a busy host.
const NODE_START: Duration = Duration::from_secs(180);

/// For QEMU to write all memory to a file, on a busy host.
const DUMP: Duration = Duration::from_secs(300);

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A running machine.
pub struct Machine {
    // Dropped first, so that QEMU no longer writes to the run's directory when `health` removes it.
    qemu: qemu::Qemu,
    nodes: Vec<Node>,
    ram: Arc<Ram>,
    node0: Node0,
    services: Vec<ServiceNode>,
    truths: Mutex<BTreeMap<u8, Truth>>,
    qmp: qmp::Qmp,
    disks: qemu::Disks,
    health: Arc<Health>,
}

impl Machine {
    /// Returns a builder. The default is Debian 6.1 on every node, two service nodes, and KASLR on.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Returns a paused machine with one of each kernel: node 0 runs the first of [`VERSIONS`],
    /// nodes 1 and 2 run the others.
    ///
    /// # Errors
    /// As for [`Builder::booted_as`].
    pub fn one_of_each() -> Result<Self> {
        let builder = (0..)
            .zip(VERSIONS)
            .fold(Self::builder(), |builder, (node, kernel)| builder.service_kernel(node, kernel));
        // The kernel instruments static calls into a module instead of patching them. Node 0 must
        // have none.
        let builder = builder.append(0, "modprobe.blacklist=kvm,kvm_amd,kvm_intel");
        let machine = builder.booted_as("one-of-each")?;
        machine.pause()?;
        Ok(machine)
    }

    /// Node 0, the monitoring OS.
    #[must_use]
    pub fn node0(&self) -> &Node0 {
        &self.node0
    }

    /// Returns service node `node`, counted from 1, or an error if the machine has no such node.
    pub fn node(&self, node: u8) -> Result<&ServiceNode> {
        usize::from(node)
            .checked_sub(1)
            .and_then(|index| self.services.get(index))
            .with_context(|| format!("the machine has no service node {node}"))
    }

    /// Starts or restarts service node `node`, and waits until it answers. Returns how long that
    /// took.
    pub fn start_node(&self, node: u8) -> Result<Duration> {
        self.start_node_by("node-loader", node)
    }

    /// Does the same with a copy of the loader at another path on node 0.
    pub fn start_node_by(&self, loader: &str, node: u8) -> Result<Duration> {
        let begun = Instant::now();
        let service = self.node(node)?;
        // Before the loader runs: the old kernel's mark must not be taken for the new one's.
        service.forget()?;
        self.truths().remove(&node);
        let configuration = &self.nodes[usize::from(node)];
        let (number, append) = (node.to_string(), configuration.command_line());
        let kernel = format!("/host/node{node}.vmlinuz");
        let initrd = format!("/host/node{node}.cpio");
        let loader = [loader, "start", "--node", &number, "--kernel", &kernel];
        let options = ["--initrd", &initrd, "--append", &append];
        let output = self.node0.run(loader.iter().chain(&options))?;
        ensure!(output.success(), "node-loader could not start node {node}: {output}");
        service.wait_until_it_listens(NODE_START)?;
        Ok(begun.elapsed())
    }

    /// Returns what node `node`'s own kernel reports about its text.
    ///
    /// The report is valid until the node is restarted. Each node is asked only once.
    pub fn truth(&self, node: u8) -> Result<Truth> {
        if let Some(truth) = self.truths().get(&node) {
            return Ok(truth.clone());
        }
        let truth = match node {
            0 => self.node0.truth(),
            _ => self.node(node)?.truth(),
        }?;
        self.truths().insert(node, truth.clone());
        Ok(truth)
    }

    fn truths(&self) -> MutexGuard<'_, BTreeMap<u8, Truth>> {
        self.truths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the machine's physical memory, which the host can read and change.
    #[must_use]
    pub fn ram(&self) -> &Ram {
        &self.ram
    }

    /// Stops every processor, so that memory does not change.
    pub fn pause(&self) -> Result<()> {
        self.qmp.execute("stop", json!({})).map(drop)
    }

    /// Resumes the processors.
    pub fn resume(&self) -> Result<()> {
        self.qmp.execute("cont", json!({})).map(drop)
    }

    /// Writes a consistent copy of memory to `path`, a sparse file in which the offset is the
    /// physical address.
    pub fn save_ram(&self, path: &Path) -> Result<()> {
        self.pause()?;
        let saved = self.ram.save(path);
        self.resume()?;
        saved
    }

    /// Has QEMU write a consistent copy of memory to `path`, an ELF core with one segment for each
    /// block of memory. The machine is paused during the dump.
    pub fn dump_core(&self, path: &Path) -> Result<()> {
        let file = format!("file:{}", path.display());
        let arguments = json!({ "paging": false, "protocol": file, "detach": true });
        self.qmp.execute("dump-guest-memory", arguments)?;
        self.health.wait("QEMU does not finish the core", DUMP, POLL_INTERVAL, || {
            let dump = self.qmp.execute("query-dump", json!({}))?;
            match dump["status"].as_str() {
                Some("completed") => Ok(Some(())),
                Some("active") => Ok(None),
                _ => bail!("QEMU could not write {}: {dump}", path.display()),
            }
        })
    }

    /// Ends the machine and calls `take` with its disks, before they are removed with the run's
    /// directory.
    fn end<T>(self, take: impl FnOnce(&qemu::Disks) -> Result<T>) -> Result<T> {
        drop(self.qemu);
        take(&self.disks)
    }

    /// Returns how long node 0's processor has waited for a processor of the host since QEMU
    /// started.
    ///
    /// # Errors
    /// If QEMU does not answer.
    pub fn starved(&self) -> Result<Duration> {
        let processors = self.qmp.execute("query-cpus-fast", json!({}))?;
        let thread = processors[0]["thread-id"].as_u64().context("QEMU names no thread")?;
        starved::thread(thread)
    }

    /// Returns access to the console logs and to the checks of the machine.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Does the machine still run? It ends by itself when node 0 powers off.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.qemu.is_running()
    }
}
