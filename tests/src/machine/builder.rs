//! A machine's description.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::Result;

use super::{Machine, snapshot};
use crate::kernel::Kernel;
use crate::layout;

/// What one node boots, and how.
#[derive(Debug, Clone)]
pub struct Node {
    pub(super) kernel: String,
    kaslr: bool,
    append: String,
    pub(super) modules: Vec<String>,
}

impl Default for Node {
    fn default() -> Self {
        Self { kernel: "6.1".into(), kaslr: true, append: String::new(), modules: Vec::new() }
    }
}

impl Node {
    /// The words that are added to the command line of all nodes of its kind.
    pub(super) fn command_line(&self) -> String {
        let kaslr = if self.kaslr { "" } else { "nokaslr " };
        format!("{kaslr}{}", self.append)
    }
}

/// Describes a machine; see [`Machine::builder`].
#[derive(Debug, Clone)]
pub struct Builder {
    pub(super) nodes: Vec<Node>,
    pub(super) service_nodes: u8,
    pub(super) spare_processors: u8,
    pub(super) memory_mib: u32,
    pub(super) cpu: String,
    pub(super) iommu: bool,
    pub(super) fast_strings: bool,
    pub(super) counted: bool,
    pub(super) share: Vec<(String, PathBuf)>,
    pub(super) programs: Option<PathBuf>,
    pub(super) at_boot: Option<String>,
    pub(super) start_nodes: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            nodes: vec![Node::default(); usize::from(layout::MAX_SERVICE_NODES) + 1],
            service_nodes: layout::MAX_SERVICE_NODES,
            spare_processors: 0,
            memory_mib: 2048,
            cpu: "max".into(),
            iommu: false,
            fast_strings: true,
            counted: false,
            share: Vec::new(),
            programs: None,
            at_boot: None,
            start_nodes: true,
        }
    }
}

impl Builder {
    /// Sets the kernel of node 0: a name that [`Kernel::named`] knows.
    #[must_use]
    pub fn kernel(self, name: &str) -> Self {
        self.service_kernel(0, name)
    }

    /// Sets the kernel of every service node.
    #[must_use]
    pub fn service_kernels(mut self, name: &str) -> Self {
        for node in &mut self.nodes[1..] {
            name.clone_into(&mut node.kernel);
        }
        self
    }

    /// Sets the kernel of one service node, counted from 1.
    #[must_use]
    pub fn service_kernel(mut self, node: u8, name: &str) -> Self {
        name.clone_into(&mut self.node(node).kernel);
        self
    }

    /// Sets whether one node's kernel chooses a random address (KASLR); 0 is node 0.
    #[must_use]
    pub fn kaslr(mut self, node: u8, on: bool) -> Self {
        self.node(node).kaslr = on;
        self
    }

    /// Adds words to one node's kernel command line; 0 is node 0.
    #[must_use]
    pub fn append(mut self, node: u8, words: &str) -> Self {
        let line = &mut self.node(node).append;
        line.push_str(words);
        line.push(' ');
        self
    }

    /// Packs a module into a service node's initramfs, for
    /// [`Request::LoadModule`](crate::service::Request::LoadModule).
    #[must_use]
    pub fn module(mut self, node: u8, name: &str) -> Self {
        self.node(node).modules.push(name.to_owned());
        self
    }

    /// Sets the number of service nodes, from 0 to [`layout::MAX_SERVICE_NODES`].
    #[must_use]
    pub fn service_nodes(mut self, count: u8) -> Self {
        self.service_nodes = count;
        self
    }

    /// Sets the number of processors beside each node's own. They come after the processors of the
    /// service nodes, so that the numbers of those stay the same. They are offline until node 0
    /// starts them: `echo 1 >/sys/devices/system/cpu/cpu3/online`.
    #[must_use]
    pub fn spare_processors(mut self, count: u8) -> Self {
        self.spare_processors = count;
        self
    }

    /// Sets the machine's memory; at least 1792 MiB, so that node 0 has some above the nodes'
    /// ranges.
    #[must_use]
    pub fn memory_mib(mut self, mebibytes: u32) -> Self {
        self.memory_mib = mebibytes;
        self
    }

    /// Sets the model of the processors, with properties, as QEMU's `-cpu` takes it: `EPYC-Milan`,
    /// `max,vendor=GenuineIntel`. The default is `max`, all that QEMU emulates.
    #[must_use]
    pub fn cpu(mut self, model: &str) -> Self {
        model.clone_into(&mut self.cpu);
        self
    }

    /// Gives the machine an IOMMU, with which node 0 translates the accesses of its devices. The
    /// virtual devices that node 0 itself uses bypass it.
    #[must_use]
    pub fn iommu(mut self) -> Self {
        self.iommu = true;
        self
    }

    /// Gives the machine processors without the feature bits for fast string instructions. QEMU
    /// executes `rep movsb` one byte at a time. Without the bits, kernels and C libraries copy by
    /// other instructions. A machine for which a test mostly waits is then a fifth faster.
    #[must_use]
    pub fn without_fast_strings(mut self) -> Self {
        self.fast_strings = false;
        self
    }

    /// Makes the machine's time advance by one nanosecond per instruction, independent of the
    /// host's clock: its measurements are then the same on every host. This is slow, and only one
    /// processor runs at a time.
    #[must_use]
    pub fn counted(mut self) -> Self {
        self.counted = true;
        self
    }

    /// Shows a file of the host as `/host/NAME` on node 0, read-only.
    #[must_use]
    pub fn share(mut self, name: &str, file: impl Into<PathBuf>) -> Self {
        self.share.push((name.to_owned(), file.into()));
        self
    }

    /// Sets the directory of the guests' programs. The default is the output of
    /// `cargo xtask build`.
    #[must_use]
    pub fn programs(mut self, directory: impl Into<PathBuf>) -> Self {
        self.programs = Some(directory.into());
        self
    }

    /// Runs a shell script on node 0's root file system before systemd starts.
    #[must_use]
    pub fn at_boot(mut self, script: impl Into<String>) -> Self {
        self.at_boot = Some(script.into());
        self
    }

    /// Boots only node 0; [`Machine::start_node`] starts the other nodes.
    #[must_use]
    pub fn without_starting_nodes(mut self) -> Self {
        self.start_nodes = false;
        self
    }

    /// Boots the machine: first node 0, until its agent answers, then the service nodes one by one,
    /// each until it answers.
    pub fn boot(self) -> Result<Machine> {
        self.boot_with(None, |_| {})
    }

    /// Restores the machine from a snapshot of this name, in the state in which
    /// [`boot`](Self::boot) leaves it. If there is no snapshot of an equal machine, the machine
    /// boots and is saved.
    ///
    /// # Errors
    /// As for `boot`, or if QEMU cannot save or restore it.
    pub fn booted_as(self, name: &str) -> Result<Machine> {
        snapshot::kept(name, &self, "", || self.clone().boot())?.restore(self)
    }

    /// Boots as [`boot`](Self::boot) does. If `terminal` is given, node 0's console is connected to
    /// it as well as logged. Calls `progress` after each stage.
    pub fn boot_with(
        self,
        terminal: Option<UnixStream>,
        mut progress: impl FnMut(&str),
    ) -> Result<Machine> {
        let start_nodes = self.start_nodes;
        let machine = self.start_node0(terminal, &mut progress)?;
        for service in &machine.services {
            if start_nodes {
                let took = machine.start_node(service.number())?;
                let place = layout::main_range(service.number());
                progress(&format!(
                    "node {}: {} running in {:#x}..{:#x} after {:.1} s",
                    service.number(),
                    Kernel::named(&machine.nodes[usize::from(service.number())].kernel)?.release,
                    place.start,
                    place.end,
                    took.as_secs_f32()
                ));
            }
        }
        Ok(machine)
    }

    fn node(&mut self, node: u8) -> &mut Node {
        let count = self.nodes.len();
        self.nodes
            .get_mut(usize::from(node))
            .unwrap_or_else(|| panic!("node {node} of a machine with {count} nodes"))
    }
}
