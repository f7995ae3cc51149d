//! Damage and flipped bits on kernels of one's own configuration (`cargo xtask kernels`): fewer
//! witnesses say where they are, and fewer tables say what may change.

use std::env;

use anyhow::{Context, Result, ensure};
use watchdog_core::locate::{Finding, Search, locate};
use watchdog_core::memory::{Memory, PhysAddr, RawImage};
use watchdog_core::verify::{Baseline, Verdict, Verifier};
use watchdog_tests::damage::{LIMIT, Specimen};
use watchdog_tests::flips::flip;
use watchdog_tests::lone::Lone;
use watchdog_tests::node_kernel::NodeKernel;
use watchdog_tests::system_map::SystemMap;
use watchdog_tests::truth::{self, Truth};
use xtask::own_kernels::OWN_KERNELS;

/// Number of bits flipped in each kernel.
const FLIPS: usize = 10_000;

/// Boots each kernel, pauses it, and passes it on with what it knows about itself.
fn each(check: impl Fn(&str, &Lone, &NodeKernel<'_>) -> Result<()>) -> Result<()> {
    for kernel in OWN_KERNELS {
        let lone = Lone::of(kernel.name)?.boot()?;
        let map = SystemMap::of(kernel.name)?;
        let stext = map.address("_stext")?;
        let truth = reported(&lone, &map)?;
        lone.pause()?;
        let distance = |name: &str| Some(map.address(name).ok()?.wrapping_sub(stext));
        let node = NodeKernel::new(lone.ram(), truth, distance);
        check(kernel.name, &lone, &node).context(kernel.name)?;
    }
    Ok(())
}

/// Returns what the kernel reports about its text. A kernel without kallsyms does not move, so its
/// link addresses are right.
fn reported(lone: &Lone, map: &SystemMap) -> Result<Truth> {
    if lone.node().read("/proc/kallsyms").is_ok() {
        return lone.node().truth();
    }
    let read = |path: &str| -> Result<String> {
        Ok(String::from_utf8(lone.node().read(path)?)?.trim_end().to_owned())
    };
    let (text_phys_start, text_phys_end) = truth::kernel_code(&read("/proc/iomem")?)?;
    Ok(Truth {
        text_phys_start,
        text_phys_end,
        stext_virt: map.address("_stext")?,
        etext_virt: map.address("_etext")?,
        release: read("/proc/sys/kernel/osrelease")?,
        banner: read("/proc/version")?,
    })
}

/// Check that each flipped bit of the text is found, or is at a place that is not judged.
#[test]
#[ignore = "needs kernels: cargo xtask test --own-kernels"]
fn single_bits_are_found() -> Result<()> {
    each(|name, lone, _| {
        let baseline = Baseline::of_image(lone.image())?;
        let memory = RawImage::open(&lone.ram().path(), PhysAddr(0))?;
        let found = locate(&memory, memory.ranges(), &Search::default(), &mut |_, _| ())?;
        let kernel = found.into_iter().find_map(|finding| match finding {
            Finding::Located(kernel) => baseline.fits(&kernel).then_some(kernel),
            _ => None,
        });
        let kernel = kernel.context("no kernel that fits its image")?;
        let mut verifier = Verifier::new(baseline, &kernel);
        let swept = verifier.sweep(&memory, &kernel, 0)?;
        ensure!(swept.verdict == Verdict::Patched, "{}", swept.verdict);
        let flips = flip(&mut verifier, &memory, &kernel, FLIPS, 1)?;
        println!("{name}: {flips}");
        ensure!(flips.missed.is_empty(), "{flips}");
        Ok(())
    })
}

/// Check that damage to the data that describes a kernel never makes the watchdog locate it at a
/// wrong place. `WATCHDOG_DAMAGE` is the number of searches for each kernel.
#[test]
#[ignore = "needs kernels: cargo xtask test --own-kernels"]
fn damage_never_misleads() -> Result<()> {
    let runs = env::var("WATCHDOG_DAMAGE").map_or(Ok(300), |runs| runs.parse())?;
    each(|name, _, node| {
        let outcome = Specimen::take(node)?.damage(runs, 1)?;
        println!("{name}: {outcome}");
        ensure!(outcome.wrong == 0 && outcome.most < LIMIT, "{outcome}");
        ensure!(outcome.right > 0 && outcome.lost > 0, "damage that does nothing, or all");
        Ok(())
    })
}
