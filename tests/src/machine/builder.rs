//! A machine's description, and its way from there to running.

use std::{
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::{
    Machine,
    health::Health,
    node0::Node0,
    qemu::{Launch, Qemu, Terminal},
    qmp::Qmp,
    ram::Ram,
    run_directory,
    service_node::ServiceNode,
};
use crate::{cache, initramfs, kernel::Kernel, layout};

/// From QEMU's start to node 0's agent, under emulation on a busy host.
const NODE0_BOOT: Duration = Duration::from_secs(300);

/// Programs that every machine has in `/host`; others are there when they were
/// built.
const NEEDED_PROGRAMS: [&str; 3] = ["node-init", "node-loader", "node-agent"];

/// What one node boots.
#[derive(Debug, Clone)]
pub struct Node {
    kernel: String,
    kaslr: bool,
    append: String,
    modules: Vec<String>,
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
    nodes: Vec<Node>,
    service_nodes: u8,
    spare_processors: u8,
    memory_mib: u32,
    iommu: bool,
    share: Vec<(String, PathBuf)>,
    programs: Option<PathBuf>,
    at_boot: Option<String>,
    start_nodes: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            nodes: vec![Node::default(); usize::from(layout::MAX_SERVICE_NODES) + 1],
            service_nodes: layout::MAX_SERVICE_NODES,
            spare_processors: 0,
            memory_mib: 2048,
            iommu: false,
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

    fn start_node0(
        mut self,
        terminal: Option<UnixStream>,
        progress: &mut impl FnMut(&str),
    ) -> Result<Machine> {
        ensure!(
            self.service_nodes <= layout::MAX_SERVICE_NODES,
            "a machine has at most {} service nodes",
            layout::MAX_SERVICE_NODES
        );
        ensure!(self.memory_mib >= 1792, "a machine needs at least 1792 MiB of memory");
        self.nodes.truncate(usize::from(self.service_nodes) + 1);
        let directory = run_directory::create()?;
        let kernel = Kernel::named(&self.nodes[0].kernel)?;
        self.fill(directory.path(), &kernel)?;

        let begun = std::time::Instant::now();
        let ram = Arc::new(Ram::new(u64::from(self.memory_mib) << 20)?);
        let (agent, agent_of_qemu) = UnixStream::pair()?;
        let (control, control_of_qemu) = UnixStream::pair()?;
        let qemu = Qemu::launch(Launch {
            directory: directory.path(),
            image: &kernel.image(),
            modules: &kernel.module_root(),
            root: &cache::require(
                cache::node0_root(),
                "node 0's root file system",
                "cargo xtask setup",
            )?,
            command_line: self.node0_command_line(),
            memory_mib: self.memory_mib,
            iommu: self.iommu,
            processors: self.service_nodes + 1 + self.spare_processors,
            ram: &ram,
            agent: agent_of_qemu,
            control: control_of_qemu,
            terminal: terminal.map(Terminal::from),
        })?;
        let health = Arc::new(Health::new(directory, qemu.watch(), self.service_nodes));
        let qmp = Qmp::connect(control, Arc::clone(&health))?;
        let node0 = Node0::connect(agent, Arc::clone(&health), NODE0_BOOT)?;
        progress(&format!(
            "node 0: {} up after {:.1} s",
            kernel.release,
            begun.elapsed().as_secs_f32()
        ));
        let services = (1..=self.service_nodes)
            .map(|node| ServiceNode::new(node, &ram, Arc::clone(&health)))
            .collect::<Result<_>>()?;
        Ok(Machine { nodes: self.nodes, ram, node0, services, qmp, health, qemu })
    }

    /// Puts everything that guests read into the run's directory.
    fn fill(&self, directory: &Path, kernel: &Kernel) -> Result<()> {
        let share = directory.join("share");
        fs::create_dir(&share)?;
        let programs = self.programs.clone().unwrap_or_else(cache::guest_programs);
        for entry in fs::read_dir(&programs).with_context(|| missing_programs(&programs))? {
            let path = entry?.path();
            // Programs have no extension; cargo's own files do.
            if path.is_file() && path.extension().is_none() {
                place(&path, &share.join(path.file_name().unwrap_or_default()))?;
            }
        }
        for program in NEEDED_PROGRAMS {
            ensure!(share.join(program).exists(), missing_programs(&programs));
        }
        for (name, file) in &self.share {
            place(file, &share.join(name))?;
        }
        if let Some(script) = &self.at_boot {
            fs::write(share.join("at-boot"), script)?;
        }
        let init = fs::read(share.join("node-init"))?;
        initramfs::for_node0(&directory.join("node0.cpio"), &init, kernel)?;
        for (number, node) in self.nodes.iter().enumerate().skip(1) {
            let kernel = Kernel::named(&node.kernel)?;
            place(&kernel.image(), &share.join(format!("node{number}.vmlinuz")))?;
            let archive = share.join(format!("node{number}.cpio"));
            initramfs::for_service_node(&archive, &init, &kernel, &node.modules)?;
        }
        Ok(())
    }

    fn node0_command_line(&self) -> String {
        let reserved: Vec<_> = layout::RESERVED_ON_NODE0
            .iter()
            .map(|(start, size)| format!("memmap={size:#x}${start:#x}"))
            .collect();
        // iomem=relaxed lets the loader reach the local APIC through /dev/mem,
        // which is where it starts processors, so no x2APIC mode. Processors that
        // stay idle make Linux doubt the time-stamp counter, and every look at
        // the clock slow.
        let iommu = if self.iommu { "intel_iommu=on " } else { "" };
        format!(
            "console=ttyS0 maxcpus=1 nox2apic tsc=reliable iomem=relaxed panic=-1 {iommu}{} {}",
            reserved.join(" "),
            self.nodes[0].command_line()
        )
    }

    fn node(&mut self, node: u8) -> &mut Node {
        let count = self.nodes.len();
        self.nodes
            .get_mut(usize::from(node))
            .unwrap_or_else(|| panic!("node {node} of a machine with {count} nodes"))
    }
}

/// Links a file, or copies it where it cannot be linked.
fn place(file: &Path, to: &Path) -> Result<()> {
    if fs::hard_link(file, to).is_err() {
        fs::copy(file, to).with_context(|| format!("cannot share {}", file.display()))?;
    }
    Ok(())
}

fn missing_programs(directory: &Path) -> String {
    format!("the guests' programs are not all in {}: run `cargo xtask build`", directory.display())
}
