//! The QEMU process: its command line, and its end.

use std::{
    fs::File,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use anyhow::{Context, Result};
use rustix::{
    io::{FdFlags, fcntl_setfd},
    process::{Pid, Signal, kill_process, set_parent_process_death_signal},
};

use serde::{Deserialize, Serialize};

use super::{console, ram::Ram};
use crate::{agent, cache, layout};

/// The other end of node 0's console, if a user is connected to it.
pub(super) struct Terminal(OwnedFd);

impl From<UnixStream> for Terminal {
    fn from(stream: UnixStream) -> Self {
        Self(stream.into())
    }
}

/// Everything that QEMU needs to start.
pub(super) struct Launch<'a> {
    /// Directory of the logs of the consoles and of QEMU itself.
    pub(super) logs: &'a Path,
    /// The disks of node 0 and its initramfs.
    pub(super) disks: &'a Disks,
    /// Node 0's kernel.
    pub(super) image: &'a Path,
    /// Whether the machine waits for a saved state instead of booting.
    pub(super) incoming: bool,
    /// Node 0's kernel command line.
    pub(super) command_line: String,
    pub(super) hardware: Hardware<'a>,
    pub(super) iommu: bool,
    /// QEMU's ends of the agent's port and of QEMU's control connection.
    pub(super) agent: UnixStream,
    pub(super) control: UnixStream,
    pub(super) terminal: Option<Terminal>,
}

/// Processors and memory.
pub(crate) struct Hardware<'a> {
    /// The model, with properties, as `-cpu` takes it.
    pub(crate) cpu: &'a str,
    /// Whether time advances by instructions.
    pub(crate) counted: bool,
    pub(crate) processors: u8,
    pub(crate) memory_mib: u32,
    pub(crate) ram: &'a Ram,
}

/// Files that a machine reads. Files that differ between boots are in the run's directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Disks {
    /// Changes to node 0's root file system, a qcow2 image on top of the image in the cache.
    pub(super) root: PathBuf,
    /// Node 0's `/host`, an ext4 image.
    pub(super) host: PathBuf,
    /// Node 0's `/lib/modules`, an ext4 image.
    pub(super) modules: PathBuf,
    /// Node 0's initramfs.
    pub(super) initramfs: PathBuf,
}

impl Disks {
    /// Do all of these files exist?
    pub(super) fn exist(&self) -> bool {
        [&self.root, &self.host, &self.modules, &self.initramfs].iter().all(|file| file.exists())
    }
}

/// A running QEMU. Dropping it ends it.
pub(crate) struct Qemu {
    id: Pid,
    watch: Watch,
}

/// Reports whether QEMU has ended.
#[derive(Clone, Default)]
pub(crate) struct Watch(Arc<Mutex<Option<String>>>);

impl Watch {
    /// Returns how QEMU ended, if it has.
    pub(super) fn end(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, end: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
    }
}

impl Qemu {
    pub(super) fn launch(launch: Launch<'_>) -> Result<Self> {
        let running = Self::spawn(launch.command()?)?;
        // From here on, only QEMU has its ends of the sockets.
        drop(launch);
        Ok(running)
    }

    /// Starts QEMU with this command line. The descriptors that it inherits must be open.
    pub(crate) fn spawn(mut command: Command) -> Result<Self> {
        let watch = Watch::default();
        let (started, outcome) = mpsc::channel();
        let ended = watch.clone();
        // The kernel sends the parent-death signal when the *thread* that started QEMU ends. This
        // thread therefore lives as long as QEMU.
        thread::Builder::new().name("qemu".into()).spawn(move || {
            let child = command.spawn();
            // The child has its own copies of the sockets. They must close when the child ends.
            drop(command);
            match child {
                Ok(child) => {
                    let _no_listener = started.send(Ok(Pid::from_child(&child)));
                    ended.set(describe(wait(child)));
                }
                Err(error) => {
                    let _no_listener = started.send(Err(error));
                }
            }
        })?;
        let id = outcome.recv()?.with_context(|| {
            format!("cannot start {}: run `cargo xtask setup`", cache::qemu().display())
        })?;
        Ok(Self { id, watch })
    }

    pub(crate) fn watch(&self) -> Watch {
        self.watch.clone()
    }

    pub(super) fn is_running(&self) -> bool {
        self.watch.end().is_none()
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        if self.is_running() {
            // Nothing of a run is kept, so an orderly end is not necessary.
            let _ended_by_itself = kill_process(self.id, Signal::KILL);
            while self.is_running() {
                thread::sleep(std::time::Duration::from_millis(5));
            }
        }
    }
}

fn wait(mut child: Child) -> std::io::Result<ExitStatus> {
    child.wait()
}

fn describe(end: std::io::Result<ExitStatus>) -> String {
    match end {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}

impl Hardware<'_> {
    pub(crate) fn describe(&self, command: &mut Command) {
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        command.args(["-cpu", self.cpu]);
        // Emulation, even if KVM is available: every host has it, and the nodes' interplay was
        // tested with it.
        if self.counted {
            command.args(["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"]);
        } else {
            command.args(["-accel", "tcg,thread=multi"]);
        }
        command.args(["-smp", &self.processors.to_string()]);
        command.args(["-m", &format!("{}M", self.memory_mib)]);
        command.args(["-machine", "q35,memory-backend=ram"]);
        command.arg("-object");
        command.arg(format!(
            "memory-backend-file,id=ram,size={}M,mem-path=/proc/self/fd/{},share=on",
            self.memory_mib,
            self.ram.file().as_raw_fd()
        ));
    }

    /// Lets QEMU inherit the memory and these descriptors, which must be open until QEMU has
    /// started, and sends its messages to a log.
    pub(crate) fn attach(
        &self,
        command: &mut Command,
        logs: &Path,
        mut inherited: Vec<RawFd>,
    ) -> Result<()> {
        let log = File::create(logs.join("qemu.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        inherited.push(self.ram.file().as_raw_fd());
        // SAFETY: between fork and exec the child only makes system calls, and neither allocates
        // nor locks. The caller keeps the descriptors open.
        unsafe {
            command.pre_exec(move || {
                set_parent_process_death_signal(Some(Signal::KILL))?;
                for descriptor in &inherited {
                    let descriptor = std::os::fd::BorrowedFd::borrow_raw(*descriptor);
                    fcntl_setfd(descriptor, FdFlags::empty())?;
                }
                Ok(())
            });
        }
        Ok(())
    }
}

impl Launch<'_> {
    fn command(&self) -> Result<Command> {
        let mut command = Command::new(cache::qemu());
        self.hardware.describe(&mut command);
        if self.iommu {
            // Before the devices behind it. Interrupts are not remapped.
            command.args(["-device", "intel-iommu,intremap=off"]);
        }
        self.boot(&mut command);
        self.consoles(&mut command);
        self.disks(&mut command);
        self.channels(&mut command);
        let mut inherited: Vec<RawFd> = vec![self.agent.as_raw_fd(), self.control.as_raw_fd()];
        inherited.extend(self.terminal.as_ref().map(|terminal| terminal.0.as_raw_fd()));
        self.hardware.attach(&mut command, self.logs, inherited)?;
        Ok(command)
    }

    fn boot(&self, command: &mut Command) {
        command.arg("-kernel").arg(self.image);
        command.arg("-initrd").arg(&self.disks.initramfs);
        command.args(["-append", &self.command_line]);
        if self.incoming {
            command.args(["-incoming", "defer"]);
        }
    }

    /// Adds the serial ports, in the order of the nodes.
    fn consoles(&self, command: &mut Command) {
        for node in 0..=layout::MAX_SERVICE_NODES {
            let log = console::log(self.logs, node);
            let chardev = match &self.terminal {
                Some(terminal) if node == 0 => format!(
                    "socket,id=console{node},fd={},logfile={}",
                    terminal.0.as_raw_fd(),
                    value(&log)
                ),
                _ => format!("file,id=console{node},path={}", value(&log)),
            };
            command.args(["-chardev", &chardev, "-serial", &format!("chardev:console{node}")]);
        }
    }

    /// Adds the disks. Node 0 distinguishes them by their serial numbers.
    fn disks(&self, command: &mut Command) {
        let Disks { root, host, modules, .. } = self.disks;
        let root = format!("format=qcow2,file={}", value(root));
        let [host, modules] =
            [host, modules].map(|file| format!("format=raw,readonly=on,file={}", value(file)));
        for (name, drive) in [("root", root), ("host", host), ("modules", modules)] {
            // Writes need no flush: the files of a run need not survive a crash of the host.
            let drive = format!("if=none,id={name},cache=unsafe,{drive}");
            let device = format!("virtio-blk-pci,drive={name},serial={name}");
            command.args(["-drive", &drive, "-device", &device]);
        }
    }

    fn channels(&self, command: &mut Command) {
        let (agent, control) = (self.agent.as_raw_fd(), self.control.as_raw_fd());
        command.args(["-device", "virtio-serial-pci"]);
        command.args(["-chardev", &format!("socket,id=agent,fd={agent}")]);
        let port = agent::PORT;
        command.args(["-device", &format!("virtserialport,chardev=agent,name={port}")]);
        command.args(["-chardev", &format!("socket,id=control,fd={control}")]);
        command.args(["-mon", "chardev=control,mode=control"]);
    }
}

/// Returns a path as the value of a QEMU option. A comma ends a value unless it is doubled.
pub(crate) fn value(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
