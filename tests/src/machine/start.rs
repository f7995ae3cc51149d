//! Starts a machine from its description: by a boot, or from a saved state.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::{
    Builder, Machine,
    health::Health,
    node0::Node0,
    qemu::{Disks, Hardware, Launch, Qemu, Terminal},
    qmp::Qmp,
    ram::Ram,
    run_directory,
    service_node::ServiceNode,
    snapshot,
};
use crate::{cache, disk, disk::Base, initramfs, kernel::Kernel, layout, truth::Truth};

/// From QEMU's start until node 0's agent answers, under emulation on a busy host.
const NODE0_BOOT: Duration = Duration::from_secs(300);

/// Programs that every machine has in `/host`.
const NEEDED_PROGRAMS: [&str; 3] = ["node-init", "node-loader", "node-agent"];

/// Programs that `/host` has too, if they were built.
const MORE_PROGRAMS: [&str; 4] = ["watchdog", "attack", "disarm", "cost"];

/// What a machine starts from.
pub(super) struct Start<'a> {
    pub(super) disks: Disks,
    /// A state that QEMU saved, from which the machine continues instead of booting.
    pub(super) incoming: Option<&'a Path>,
    /// What is known about the kernels that run already.
    pub(super) truths: BTreeMap<u8, Truth>,
    pub(super) terminal: Option<UnixStream>,
}

impl Builder {
    /// Lists everything of which a machine with this description is made, as text. Two machines
    /// with the same text boot alike. Files are identified by path, size and modification time.
    pub(super) fn made_of(&self) -> Result<String> {
        let mut files = vec![cache::node0_root(), cache::qemu_path()?];
        files.extend(self.program_files()?.into_iter().map(|(_, file)| file));
        files.extend(self.share.iter().map(|(_, file)| file.clone()));
        for node in self.nodes.iter().take(usize::from(self.service_nodes) + 1) {
            let kernel = Kernel::named(&node.kernel)?;
            files.extend([kernel.image(), kernel.module_disk()?]);
        }
        let mut text = format!("{self:?}\n{}\n", processor()?);
        for file in files {
            let known = fs::metadata(&file)
                .with_context(|| format!("cannot look at {}", file.display()))?;
            let changed = known.modified()?.duration_since(SystemTime::UNIX_EPOCH)?;
            text += &format!("{} {} {changed:?}\n", file.display(), known.len());
        }
        Ok(text)
    }

    pub(super) fn start_node0(
        mut self,
        terminal: Option<UnixStream>,
        progress: &mut impl FnMut(&str),
    ) -> Result<Machine> {
        let kernel = self.settle()?;
        let directory = run_directory::create()?;
        let disks = self.fill(directory.path(), &kernel)?;
        let begun = std::time::Instant::now();
        let ram = Ram::new(u64::from(self.memory_mib) << 20)?;
        let start = Start { disks, incoming: None, truths: BTreeMap::new(), terminal };
        let machine = self.launch(directory, &kernel, ram, start)?;
        progress(&format!(
            "node 0: {} up after {:.1} s",
            kernel.release,
            begun.elapsed().as_secs_f32()
        ));
        Ok(machine)
    }

    /// Checks the description, and returns node 0's kernel.
    pub(super) fn settle(&mut self) -> Result<Kernel> {
        ensure!(
            self.service_nodes <= layout::MAX_SERVICE_NODES,
            "a machine has at most {} service nodes",
            layout::MAX_SERVICE_NODES
        );
        ensure!(self.memory_mib >= 1792, "a machine needs at least 1792 MiB of memory");
        self.nodes.truncate(usize::from(self.service_nodes) + 1);
        Kernel::named(&self.nodes[0].kernel)
    }

    /// Starts QEMU on these disks, and waits until node 0 answers.
    pub(super) fn launch(
        self,
        directory: TempDir,
        kernel: &Kernel,
        ram: Ram,
        start: Start<'_>,
    ) -> Result<Machine> {
        let ram = Arc::new(ram);
        let (agent, agent_of_qemu) = UnixStream::pair()?;
        let (control, control_of_qemu) = UnixStream::pair()?;
        let qemu = Qemu::launch(Launch {
            logs: directory.path(),
            disks: &start.disks,
            image: &kernel.image(),
            incoming: start.incoming.is_some(),
            command_line: self.node0_command_line(),
            hardware: Hardware {
                cpu: &self.processor(),
                counted: self.counted,
                processors: self.service_nodes + 1 + self.spare_processors,
                memory_mib: self.memory_mib,
                ram: &ram,
            },
            iommu: self.iommu,
            agent: agent_of_qemu,
            control: control_of_qemu,
            terminal: start.terminal.map(Terminal::from),
        })?;
        let health = Arc::new(Health::new(directory, qemu.watch(), self.service_nodes));
        let qmp = Qmp::connect(control, Arc::clone(&health))?;
        if let Some(state) = start.incoming {
            snapshot::load_state(&qmp, &health, state)?;
        }
        let node0 = Node0::connect(agent, Arc::clone(&health))?;
        match start.incoming {
            Some(_) => node0.resumed()?,
            None => node0.booted(NODE0_BOOT)?,
        }
        let services = (1..=self.service_nodes)
            .map(|node| {
                ServiceNode::new(node, layout::mailbox_range(node), &ram, Arc::clone(&health))
            })
            .collect::<Result<_>>()?;
        Ok(Machine {
            nodes: self.nodes,
            ram,
            node0,
            services,
            truths: Mutex::new(start.truths),
            qmp,
            health,
            disks: start.disks,
            qemu,
        })
    }

    /// Makes the files that guests read, in the run's directory.
    fn fill(&self, directory: &Path, kernel: &Kernel) -> Result<Disks> {
        let base =
            cache::require(cache::node0_root(), "node 0's root file system", "cargo xtask setup")?;
        let disks = Disks {
            root: directory.join("root.qcow2"),
            host: directory.join("host.ext4"),
            modules: kernel.module_disk()?,
            initramfs: directory.join("node0.cpio"),
        };
        disk::overlay(Base::Raw(&base), &disks.root)?;
        let share = directory.join("share");
        fs::create_dir(&share)?;
        let programs = self.program_files()?;
        for (name, file) in programs.iter().chain(&self.share) {
            place(file, &share.join(name))?;
        }
        if let Some(script) = &self.at_boot {
            fs::write(share.join("at-boot"), script)?;
        }
        let init = fs::read(share.join("node-init"))?;
        initramfs::for_node0(&disks.initramfs, &init, kernel)?;
        for (number, node) in self.nodes.iter().enumerate().skip(1) {
            let kernel = Kernel::named(&node.kernel)?;
            place(&kernel.image(), &share.join(format!("node{number}.vmlinuz")))?;
            let archive = share.join(format!("node{number}.cpio"));
            initramfs::for_service_node(&archive, &init, &kernel, &node.modules)?;
        }
        disk::make(&share, &disks.host)?;
        fs::remove_dir_all(&share)?;
        Ok(disks)
    }

    /// Returns the guests' programs, by name.
    pub(super) fn program_files(&self) -> Result<Vec<(String, PathBuf)>> {
        let directory = self.programs.clone().unwrap_or_else(cache::guest_programs);
        let file = |name: &&str| ((*name).to_owned(), directory.join(name));
        let needed = NEEDED_PROGRAMS.iter().map(file);
        let more = MORE_PROGRAMS.iter().map(file).filter(|(_, file)| file.exists());
        let all: Vec<_> = needed.chain(more).collect();
        for (name, file) in &all {
            ensure!(
                file.exists(),
                "the guests' program {name} is not in {}: run `cargo xtask build`",
                directory.display()
            );
        }
        Ok(all)
    }

    /// Returns the processors' model and properties.
    fn processor(&self) -> String {
        let slow_strings = if self.fast_strings { "" } else { ",erms=off,fsrm=off" };
        format!("{}{slow_strings}", self.cpu)
    }

    fn node0_command_line(&self) -> String {
        let reserved: Vec<_> = layout::RESERVED_ON_NODE0
            .iter()
            .map(|(start, size)| format!("memmap={size:#x}${start:#x}"))
            .collect();
        // `iomem=relaxed` lets the loader reach the local APIC through /dev/mem. The loader starts
        // processors that way, which rules out x2APIC mode (`nox2apic`). Idle processors make Linux
        // distrust the time-stamp counter, and every read of the clock becomes slow.
        // `tsc=reliable` prevents that.
        let iommu = if self.iommu { "intel_iommu=on " } else { "" };
        format!(
            "console=ttyS0 maxcpus=1 nox2apic tsc=reliable iomem=relaxed panic=-1 {iommu}{} {}",
            reserved.join(" "),
            self.nodes[0].command_line()
        )
    }
}

/// Returns the model of the host's processor: a saved machine's clock is its time-stamp counter.
fn processor() -> Result<String> {
    let all = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    let model = all.lines().find(|line| line.starts_with("model name"));
    Ok(model.unwrap_or_default().to_owned())
}

/// Links a file, or copies it if it cannot be linked.
fn place(file: &Path, to: &Path) -> Result<()> {
    if fs::hard_link(file, to).is_err() {
        fs::copy(file, to).with_context(|| format!("cannot share {}", file.display()))?;
    }
    Ok(())
}
