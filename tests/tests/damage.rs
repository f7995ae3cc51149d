//! Random damage to the data that describes a real kernel: its VMCOREINFO, symbol table, page
//! tables and resource entry. The damaged kernel must be located at its real place, or not at all.
//! A kernel that lacks some of these must be located if one exact witness is left.

use anyhow::{Context, Result, ensure};
use watchdog_core::locate::{Finding, Search, locate};
use watchdog_core::memory::{Memory, PhysAddr, RawImage};
use watchdog_tests::damage::{LIMIT, Specimen};
use watchdog_tests::machine::Machine;
use watchdog_tests::node_kernel::NodeKernel;
use watchdog_tests::truth::Truth;
use xtask::kernels::VERSIONS;

/// Check that damage to this data never makes the watchdog locate a kernel at a wrong place, and
/// never makes a search long. Runs on every kernel, `WATCHDOG_DAMAGE` times in total.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn damage_never_misleads() -> Result<()> {
    let runs = std::env::var("WATCHDOG_DAMAGE").map_or(Ok(300), |runs| runs.parse())?;
    let machine = Machine::one_of_each()?;
    let truths = (0..).take(VERSIONS.len()).map(|node| machine.truth(node));
    let truths: Vec<Truth> = truths.collect::<Result<_>>()?;
    let memory = RawImage::open(&machine.ram().path(), PhysAddr(0))?;
    let found = locate(&memory, memory.ranges(), &Search::default(), &mut |_, _| ())?;
    for (truth, kernel) in truths.into_iter().zip(VERSIONS) {
        let located = found.iter().find_map(|finding| match finding {
            Finding::Located(it) if it.text.phys.0 == truth.text_phys_start => Some(it),
            _ => None,
        });
        let located = located.with_context(|| format!("{kernel} is not located where it is"))?;
        let stext = located.text.virt.0;
        let distance = |name: &str| Some(located.symbols.address(name)?.0.wrapping_sub(stext));
        let node = NodeKernel::new(machine.ram(), truth, distance);
        let specimen = Specimen::take(&node)?;
        specimen.every_subset().with_context(|| format!("{kernel} with fewer witnesses"))?;
        let outcome = specimen.damage(runs / VERSIONS.len(), 1)?;
        println!("{kernel}: {outcome}");
        ensure!(outcome.wrong == 0 && outcome.most < LIMIT, "{kernel}: {outcome}");
        ensure!(
            outcome.right > 0 && outcome.lost > 0,
            "damage that does nothing, or all: {outcome}"
        );
    }
    Ok(())
}
