//! The watchdog's verdict about a node's text while the kernel rewrites it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use watchdog_core::locate::{Finding, Kernel, Search, locate};
use watchdog_core::memory::{Memory, PhysAddr, RawImage};
use watchdog_core::verify::{Baseline, Sweep, Verdict, Verifier};
use watchdog_tests::kernel::Kernel as Packaged;
use watchdog_tests::machine::Machine;
use watchdog_tests::truth::Truth;

/// Pause between two sweeps, since the machine needs the processors too.
const PAUSE: Duration = Duration::from_millis(100);

/// A verifier of one node, with its vendor's image.
pub(crate) struct Judge {
    memory: RawImage,
    kernel: Box<Kernel>,
    verifier: Verifier,
}

/// Results of many sweeps.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) sweeps: usize,
    pub(crate) instrumented: usize,
    /// Sweeps with pending changes, because the kernel was rewriting them at that time.
    pub(crate) pending: usize,
    pub(crate) causes: BTreeSet<String>,
    pub(crate) longest: Duration,
}

impl Judge {
    /// Makes a judge of the kernel with this report, with the image of the package `kernel`.
    pub(crate) fn of(machine: &Machine, truth: &Truth, kernel: &str) -> Result<Self> {
        let memory = RawImage::open(&machine.ram().path(), PhysAddr(0))?;
        let baseline = Baseline::of_image(&Packaged::named(kernel)?.image())?;
        let found = locate(&memory, memory.ranges(), &Search::default(), &mut |_, _| ())?;
        let located = found.into_iter().find_map(|finding| match finding {
            Finding::Located(it) if it.text.phys.0 == truth.text_phys_start => Some(it),
            _ => None,
        });
        let kernel = located.context("the node is not located")?;
        ensure!(baseline.fits(&kernel), "the image is not of this kernel");
        let verifier = Verifier::new(baseline, &kernel);
        Ok(Self { memory, kernel, verifier })
    }

    /// Sweeps until the kernel has finished rewriting itself.
    pub(crate) fn settled(&mut self) -> Result<Sweep> {
        loop {
            let swept = self.sweep()?;
            if swept.pending == 0 {
                return Ok(swept);
            }
            thread::sleep(PAUSE);
        }
    }

    /// Sweeps once. Everything must be explained.
    pub(crate) fn sweep(&mut self) -> Result<Sweep> {
        let swept = self.verifier.sweep(&self.memory, &self.kernel, 20)?;
        ensure!(
            swept.verdict != Verdict::Tampered,
            "{} of {} unexplained: {:#x?}",
            swept.unexplained_total,
            self.kernel.release,
            swept.unexplained
        );
        Ok(swept)
    }

    /// Sweeps until `stop` is set. Everything must be explained in every sweep.
    pub(crate) fn sweep_until(&mut self, stop: &AtomicBool) -> Result<Record> {
        let mut record = Record::default();
        while !stop.load(Ordering::Relaxed) {
            let swept = self.sweep()?;
            record.sweeps += 1;
            record.instrumented += usize::from(swept.verdict == Verdict::Instrumented);
            record.pending += usize::from(swept.pending > 0);
            record.longest = record.longest.max(swept.elapsed);
            let names = swept.causes.into_iter();
            record
                .causes
                .extend(names.map(|(cause, _)| format!("{}: {}", cause.mechanism, cause.name)));
            thread::sleep(PAUSE);
        }
        Ok(record)
    }
}
