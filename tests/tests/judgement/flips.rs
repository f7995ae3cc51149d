//! Single bits of the text, flipped at random.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use watchdog_core::verify::Verdict;

use crate::overlay::Overlay;
use crate::specimen::Specimen;

/// Number of flipped bits in total, a third of them in each kernel.
const FLIPS: usize = 10_000;
/// Number of bits flipped at once, far from each other.
const AT_ONCE: usize = 101;

/// Check that each of 10,000 flipped bits is reported as unexplained. The only exceptions are bits
/// that make another form that is allowed at the site. Those are listed.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn single_bits_are_found() -> Result<()> {
    let mut random = StdRng::seed_from_u64(0x0b17_f11b);
    for specimen in Specimen::all()? {
        let mut verifier = specimen.experienced();
        let (mut turned, mut found, mut missed) = (0, 0, Vec::new());
        let mut allowed: BTreeMap<String, usize> = BTreeMap::new();
        while turned < FLIPS / 3 + 1 {
            let spacing = specimen.kernel.text.size / AT_ONCE as u64;
            let mut patches = Vec::new();
            for n in 0..AT_ONCE as u64 {
                let at = n * spacing + random.random_range(0..spacing - 64);
                let at = u32::try_from(at)?;
                let byte = specimen.live(at, 1)[0] ^ (1 << random.random_range(0..8));
                patches.push((at, vec![byte]));
            }
            let changed = Overlay::of(&specimen.memory, specimen.kernel.text.phys, &patches);
            let swept = verifier.sweep(&changed, &specimen.kernel, usize::MAX)?;
            ensure!(swept.verdict == Verdict::Tampered);
            let places: Vec<_> = swept
                .unexplained
                .iter()
                .chain(&verifier.instrumented(&specimen.kernel).collect::<Vec<_>>())
                .map(|it| {
                    let start = it.phys.0 - specimen.kernel.text.phys.0;
                    start..start + it.found.len() as u64
                })
                .collect();
            let patched: Vec<_> = verifier.patched(&specimen.kernel).collect();
            for (at, byte) in &patches {
                let at = u64::from(*at);
                if places.iter().any(|place| place.contains(&at)) {
                    found += 1;
                    continue;
                }
                let form = patched.iter().find(|it| {
                    let start = it.phys.0 - specimen.kernel.text.phys.0;
                    (start..start + it.found.len() as u64).contains(&at)
                });
                match form {
                    Some(site) => {
                        let what = format!("{:?}: {}", site.mechanism, site.found_asm);
                        *allowed.entry(what).or_default() += 1;
                    }
                    None => missed.push(format!("{at:#x} = {byte:x?}")),
                }
            }
            turned += patches.len();
        }
        let release = &specimen.kernel.release;
        let other: usize = allowed.values().sum();
        println!(
            "{release}: {turned} bits turned, {found} found, {other} made another allowed form, \
             {} missed",
            missed.len()
        );
        for (form, count) in &allowed {
            println!("  {count} x {form}");
        }
        ensure!(missed.is_empty(), "{release}: {missed:?}");
    }
    Ok(())
}
