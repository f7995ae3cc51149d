//! A machine's description.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::Result;

use super::{Machine, snapshot};
use crate::kernel::Kernel;
use crate::layout;

/// What one node boots.
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
    /// What is added to the command line that every node of its kind has.
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
    /// The kernel of node 0: a name [`Kernel::named`] knows.
    #[must_use]
    pub fn kernel(self, name: &str) -> Self {
        self.service_kernel(0, name)
    }

    /// The kernel of every service node.
    #[must_use]
    pub fn service_kernels(mut self, name: &str) -> Self {
        for node in &mut self.nodes[1..] {
            name.clone_into(&mut node.kernel);
        }
        self
    }

    /// The kernel of one service node, counted from 1.
    #[must_use]
    pub fn service_kernel(mut self, node: u8, name: &str) -> Self {
        name.clone_into(&mut self.node(node).kernel);
        self
    }

    /// Whether one node's kernel picks its place at random; 0 is node 0.
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

    /// How many service nodes there are, from 0 to [`layout::MAX_SERVICE_NODES`].
    #[must_use]
    pub fn service_nodes(mut self, count: u8) -> Self {
        self.service_nodes = count;
        self
    }

    /// How many processors there are beside each node's own. They come behind the service nodes',
    /// so that the nodes are where they always are, and rest until node 0 puts them to use:
    /// `echo 1 >/sys/devices/system/cpu/cpu3/online`.
    #[must_use]
    pub fn spare_processors(mut self, count: u8) -> Self {
        self.spare_processors = count;
        self
    }

    /// The machine's memory; at least 1792 MiB, so that something above the
    /// nodes' ranges is left for node 0.
    #[must_use]
    pub fn memory_mib(mut self, mebibytes: u32) -> Self {
        self.memory_mib = mebibytes;
        self
    }

    /// Gives the machine an IOMMU, by which node 0 translates what its devices do. The virtual ones
    /// that it lives on go around it.
    #[must_use]
    pub fn iommu(mut self) -> Self {
        self.iommu = true;
        self
    }

    /// Gives the machine processors that do not claim fast string instructions. QEMU executes `rep
    /// movsb` a byte at a time; kernels and C libraries then copy by other means, and a machine
    /// that is mostly waited for is a fifth faster.
    #[must_use]
    pub fn without_fast_strings(mut self) -> Self {
        self.fast_strings = false;
        self
    }

    /// Has the machine's time go by instructions, a nanosecond each, and not by the host's clock:
    /// what the machine measures is then the same on every host. It is slow, and no other processor
    /// runs while one does.
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

    /// Where the guests' programs are, in place of `cargo xtask build`'s output.
    #[must_use]
    pub fn programs(mut self, directory: impl Into<PathBuf>) -> Self {
        self.programs = Some(directory.into());
        self
    }

    /// Runs a script of shell on node 0's root file system before systemd starts.
    #[must_use]
    pub fn at_boot(mut self, script: impl Into<String>) -> Self {
        self.at_boot = Some(script.into());
        self
    }

    /// Boots node 0 only; nodes are started by [`Machine::start_node`].
    #[must_use]
    pub fn without_starting_nodes(mut self) -> Self {
        self.start_nodes = false;
        self
    }

    /// Boots the machine: node 0 until its agent answers, then the service
    /// nodes, one after another, until they answer.
    pub fn boot(self) -> Result<Machine> {
        self.boot_with(None, |_| {})
    }

    /// The machine as [`boot`](Self::boot) leaves it, from a snapshot of this name. Where there is
    /// none that was made of the same, the machine boots and is saved.
    ///
    /// # Errors
    /// As for `boot`, or when QEMU cannot save or restore it.
    pub fn booted_as(self, name: &str) -> Result<Machine> {
        snapshot::kept(name, &self, "", || self.clone().boot())?.restore(self)
    }

    /// As [`boot`](Self::boot), with node 0's console on `terminal` in place of
    /// a log alone, and `progress` told what has been reached.
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
