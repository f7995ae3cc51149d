//! One kernel alone on a QEMU machine, with `node-init` as its process 1. A verifier judges it as
//! it judges a node. It boots in 4 to 10 s, on any model of processor and with any command line.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use watchdog_tests::lone::Lone;
//!
//! let lone = Lone::of("6.12")?.cpu("EPYC-Milan").append("retbleed=ibpb").boot()?;
//! lone.node().tracing(true)?;
//! println!("{}", lone.judge(lone.image())?.verdict);
//! # Ok(())
//! # }
//! ```

use std::{
    fs,
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use watchdog_core::locate::{self, Finding, Kernel as Located, Search};
use watchdog_core::memory::{Memory, PhysAddr, RawImage};
use watchdog_core::verify::{Baseline, Sweep, Verifier};

use crate::{
    cache, initramfs,
    kernel::Kernel,
    layout::MAILBOX_SIZE,
    machine::{
        Health, Ram, ServiceNode, console,
        qemu::{self, Hardware, Qemu},
        qmp::Qmp,
        run_directory,
    },
};

/// Physical address of the mailbox, which the kernel's `memmap=` reserves.
const MAILBOX: u64 = 0xf00_0000;

/// From QEMU's start until the kernel answers, under emulation on a busy host.
const BOOT: Duration = Duration::from_secs(300);

/// For a kernel to finish a change of its own text.
const SETTLED: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);

/// Most differences that a judgement shows.
const SHOWN: usize = 100;

/// Describes a machine with one kernel.
#[derive(Debug, Clone)]
pub struct Builder {
    image: PathBuf,
    /// The package that has the modules.
    kernel: Option<Kernel>,
    modules: Vec<String>,
    cpu: String,
    processors: u8,
    append: String,
    memory_mib: u32,
}

/// A machine with one kernel.
pub struct Lone {
    // Dropped first, so that QEMU no longer writes to the run's directory when `health` removes it.
    _qemu: Qemu,
    image: PathBuf,
    ram: Ram,
    node: ServiceNode,
    qmp: Qmp,
    health: Arc<Health>,
}

impl Builder {
    /// Sets the model of the processor, with properties, as QEMU's `-cpu` takes it. The default is
    /// `max`.
    #[must_use]
    pub fn cpu(mut self, model: &str) -> Self {
        model.clone_into(&mut self.cpu);
        self
    }

    /// Sets the number of processors; one by default.
    #[must_use]
    pub fn processors(mut self, count: u8) -> Self {
        self.processors = count;
        self
    }

    /// Adds words to the kernel's command line.
    #[must_use]
    pub fn append(mut self, words: &str) -> Self {
        self.append.push_str(words);
        self.append.push(' ');
        self
    }

    /// Sets the machine's memory; 512 MiB by default, and at least 256 MiB.
    #[must_use]
    pub fn memory_mib(mut self, mebibytes: u32) -> Self {
        self.memory_mib = mebibytes;
        self
    }

    /// Packs a module, for [`Request::LoadModule`](crate::service::Request::LoadModule). The kernel
    /// must be one of the cache.
    #[must_use]
    pub fn module(mut self, name: &str) -> Self {
        self.modules.push(name.to_owned());
        self
    }

    /// Boots the kernel, and waits until it answers.
    ///
    /// # Errors
    /// If QEMU does not start, or the kernel dies or does not answer. The error shows the console.
    pub fn boot(self) -> Result<Lone> {
        ensure!(self.memory_mib >= 256, "a lone kernel needs at least 256 MiB of memory");
        let directory = run_directory::create()?;
        let initramfs = directory.path().join("initramfs.cpio");
        self.write_initramfs(&initramfs)?;
        let ram = Ram::new(u64::from(self.memory_mib) << 20)?;
        let (control, control_of_qemu) = UnixStream::pair()?;
        let hardware = Hardware {
            cpu: &self.cpu,
            counted: false,
            processors: self.processors,
            memory_mib: self.memory_mib,
            ram: &ram,
        };
        let mut command = Command::new(cache::qemu());
        hardware.describe(&mut command);
        command.arg("-kernel").arg(&self.image).arg("-initrd").arg(&initramfs);
        command.args(["-append", &self.command_line()]);
        let log = qemu::value(&console::log(directory.path(), 0));
        command.args(["-chardev", &format!("file,id=console,path={log}")]);
        command.args(["-serial", "chardev:console"]);
        let descriptor = control_of_qemu.as_raw_fd();
        command.args(["-chardev", &format!("socket,id=control,fd={descriptor}")]);
        command.args(["-mon", "chardev=control,mode=control"]);
        hardware.attach(&mut command, directory.path(), vec![descriptor])?;
        let qemu = Qemu::spawn(command)?;
        drop(control_of_qemu);
        let health = Arc::new(Health::new(directory, qemu.watch(), 0));
        let qmp = Qmp::connect(control, Arc::clone(&health))?;
        let node = ServiceNode::new(0, MAILBOX..MAILBOX + MAILBOX_SIZE, &ram, Arc::clone(&health))?;
        node.wait_until_it_listens(BOOT)?;
        node.wait_for_ticks()?;
        Ok(Lone { _qemu: qemu, image: self.image, ram, node, qmp, health })
    }

    fn write_initramfs(&self, path: &Path) -> Result<()> {
        let init = cache::require(
            cache::guest_programs().join("node-init"),
            "the guests' program node-init",
            "cargo xtask build",
        )?;
        let init = fs::read(init)?;
        match &self.kernel {
            Some(kernel) => initramfs::for_service_node(path, &init, kernel, &self.modules),
            None if self.modules.is_empty() => initramfs::without_modules(path, &init),
            None => bail!("{} is an image without modules", self.image.display()),
        }
    }

    fn command_line(&self) -> String {
        // Without `no_timer_check`, a kernel on a busy host may miss the timer and give up.
        format!(
            "console=ttyS0 panic=-1 tsc=reliable no_timer_check \
             memmap={MAILBOX_SIZE:#x}${MAILBOX:#x} watchdog.mailbox={MAILBOX:#x} {}",
            self.append.trim_end()
        )
    }
}

impl Lone {
    /// Describes a machine with a kernel of the cache; see [`Kernel::named`].
    ///
    /// # Errors
    /// If the cache has no such kernel.
    pub fn of(kernel: &str) -> Result<Builder> {
        let kernel = Kernel::named(kernel)?;
        Ok(Builder { kernel: Some(kernel.clone()), ..Self::of_image(kernel.image()) })
    }

    /// Describes a machine with any kernel that QEMU boots. It needs `/dev/mem`, and a console on a
    /// serial port to be diagnosed.
    #[must_use]
    pub fn of_image(image: impl Into<PathBuf>) -> Builder {
        Builder {
            image: image.into(),
            kernel: None,
            modules: Vec::new(),
            cpu: "max".to_owned(),
            processors: 1,
            append: String::new(),
            memory_mib: 512,
        }
    }

    /// Returns the image that was booted.
    #[must_use]
    pub fn image(&self) -> &Path {
        &self.image
    }

    /// Returns the machine's memory. Its [path](Ram::path) can be opened as a raw image.
    #[must_use]
    pub fn ram(&self) -> &Ram {
        &self.ram
    }

    /// Returns the kernel's process 1, which carries out requests.
    #[must_use]
    pub fn node(&self) -> &ServiceNode {
        &self.node
    }

    /// Returns what the kernel has printed so far.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn console(&self) -> Result<String> {
        let log = fs::read(self.health.console(0)).context("cannot read the console's log")?;
        Ok(String::from_utf8_lossy(&log).into_owned())
    }

    /// Stops the processor, so that memory does not change.
    ///
    /// # Errors
    /// If QEMU does not answer.
    pub fn pause(&self) -> Result<()> {
        self.qmp.execute("stop", json!({})).map(drop)
    }

    /// Resumes the processor.
    ///
    /// # Errors
    /// If QEMU does not answer.
    pub fn resume(&self) -> Result<()> {
        self.qmp.execute("cont", json!({})).map(drop)
    }

    /// Locates the kernel and judges its text by this image. The kernel is paused in a moment in
    /// which it does not rewrite its text.
    ///
    /// # Errors
    /// If the kernel is not located, or the image is not of this kernel.
    pub fn judge(&self, image: &Path) -> Result<Sweep> {
        self.judge_by(&Baseline::of_image(image)?)
    }

    /// As [`Self::judge`], by a baseline.
    ///
    /// # Errors
    /// If the kernel is not located, or the baseline is not of this kernel.
    pub fn judge_by(&self, baseline: &Baseline) -> Result<Sweep> {
        let begun = Instant::now();
        self.paused(baseline, |memory, kernel| {
            let swept = Verifier::new(baseline.clone(), kernel).sweep(memory, kernel, SHOWN)?;
            Ok((swept.pending == 0 || begun.elapsed() >= SETTLED).then_some(swept))
        })
    }

    /// Pauses and locates the kernel, which must fit a baseline, and calls `work` with its memory.
    /// If `work` returns nothing, because the kernel was rewriting its text, the kernel goes on for
    /// a moment, and `work` is called again.
    ///
    /// # Errors
    /// If the kernel is not located, `work` fails, or the kernel never stops rewriting its text.
    pub fn paused<T>(
        &self,
        baseline: &Baseline,
        mut work: impl FnMut(&RawImage, &Located) -> Result<Option<T>>,
    ) -> Result<T> {
        let begun = Instant::now();
        loop {
            self.pause()?;
            let memory = RawImage::open(&self.ram.path(), PhysAddr(0))?;
            let done = self.locate(&memory, baseline).and_then(|kernel| work(&memory, &kernel));
            self.resume()?;
            match done.transpose() {
                Some(done) => return done,
                None if begun.elapsed() >= 2 * SETTLED => bail!("its text is never at rest"),
                None => thread::sleep(PAUSE),
            }
        }
    }

    /// Returns the physical address of the kernel's text, by this image.
    ///
    /// # Errors
    /// If the kernel is not located, or the image is not of this kernel.
    pub fn text(&self, image: &Path) -> Result<u64> {
        self.paused(&Baseline::of_image(image)?, |_, kernel| Ok(Some(kernel.text.phys.0)))
    }

    /// Locates the kernel that fits a baseline.
    fn locate(&self, memory: &RawImage, baseline: &Baseline) -> Result<Located> {
        let found = locate::locate(memory, memory.ranges(), &Search::default(), &mut |_, _| ())?;
        let mut reports = Vec::new();
        for finding in found {
            match finding {
                Finding::Located(kernel) if baseline.fits(&kernel) => return Ok(*kernel),
                other => reports.push(format!("{other:?}")),
            }
        }
        bail!("no kernel that fits the image: {}", reports.join("; "))
    }
}
