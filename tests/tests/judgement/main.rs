//! Verification of kernel text against the vendor's image. Every changed byte of a freshly booted
//! kernel must be explained, and no attack on it may be.

mod attacks;
mod baselines;
mod data_attacks;
mod flips;
mod specimen;

use anyhow::{Result, ensure};
use watchdog_core::verify::{Baseline, Verdict, Verifier};

use specimen::Specimen;
use watchdog_tests::overlay::Overlay;

/// Number of sweeps within which every site is verified against the kernel's state again.
const WITHIN: usize = 64;

/// Check that closed tables explain every byte in which a fresh kernel differs from its vendor's
/// image, on each kernel, with KASLR on.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn fresh_kernels_are_patched() -> Result<()> {
    let mut moved = 0;
    for specimen in Specimen::all()? {
        let mut verifier = specimen.verifier();
        let swept = verifier.sweep(&specimen.memory, &specimen.kernel, usize::MAX)?;
        let release = &specimen.kernel.release;
        let sites: u32 = swept.sites.values().sum();
        let text = verifier.patched(&specimen.kernel);
        let bytes: usize = text
            .map(|site| site.expected.iter().zip(&site.found).filter(|(a, b)| a != b).count())
            .sum();
        println!(
            "{release}: {bytes} bytes differ at {sites} sites of {} pages, {} unexplained; first \
             judgement {:.0?}",
            swept.pages_differing, swept.unexplained_total, swept.elapsed
        );
        for difference in swept.unexplained.iter().take(5) {
            println!("  {difference:x?}");
        }
        ensure!(swept.unexplained_total == 0 && swept.causes.is_empty(), "{release}");
        ensure!(swept.verdict == Verdict::Patched && bytes > 400_000, "{release}: {bytes}");
        moved += usize::from(specimen.kernel.kaslr_offset != 0);
    }
    // KASLR has some hundred places, and one of them is the place without KASLR.
    ensure!(moved > 0, "no kernel was moved");
    Ok(())
}

/// Check that a kernel equals the baseline learned from its own memory, that the tables found there
/// explain a legitimate change, and that they explain no other.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn learned_baselines_judge() -> Result<()> {
    for specimen in Specimen::all()? {
        let baseline = Baseline::learn(&specimen.memory, &specimen.kernel)?;
        ensure!(baseline.fits(&specimen.kernel));
        let mut verifier = Verifier::new(baseline.clone(), &specimen.kernel);
        let clean = verifier.sweep(&specimen.memory, &specimen.kernel, 10)?;
        ensure!(clean.verdict == Verdict::Clean, "{:x?}", clean.unexplained);
        // A static key that is switched with all its sites.
        let (key, sites) = specimen.switchable_key()?;
        let mut patches: Vec<_> = sites.iter().map(|label| specimen.toggled(label)).collect();
        patches.push((key, specimen.toggled_key(key)?));
        let switched = Overlay::of(&specimen.memory, specimen.kernel.text.phys, &patches);
        let swept = verifier.sweep(&switched, &specimen.kernel, 10)?;
        ensure!(swept.verdict == Verdict::Patched, "{:x?}", swept.unexplained);
        // The same sites without the key.
        patches.pop();
        let forged = Overlay::of(&specimen.memory, specimen.kernel.text.phys, &patches);
        let mut fresh = Verifier::new(baseline, &specimen.kernel);
        let swept = fresh.sweep(&forged, &specimen.kernel, 10)?;
        ensure!(swept.verdict == Verdict::Tampered && swept.unexplained_total == sites.len());
        // A verifier that knows the sites with their key soon verifies them again.
        let found = (0..WITHIN).any(|_| {
            let swept = verifier.sweep(&forged, &specimen.kernel, 10);
            swept.is_ok_and(|swept| swept.unexplained_total == sites.len())
        });
        ensure!(found, "a key that was switched back is not noticed");
    }
    Ok(())
}
