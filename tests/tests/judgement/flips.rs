//! Single bits of the text, flipped at random.

use anyhow::{Result, ensure};
use watchdog_tests::flips::flip;

use crate::specimen::Specimen;

/// Number of flipped bits in total, a third of them in each kernel.
const FLIPS: usize = 10_000;

/// Check that each of 10,000 flipped bits is reported as unexplained. The only exceptions are bits
/// that make another form that is allowed at the site. Those are listed.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn single_bits_are_found() -> Result<()> {
    for specimen in Specimen::all()? {
        let mut verifier = specimen.experienced();
        let seed = 0x0b17_f11b;
        let flips = flip(&mut verifier, &specimen.memory, &specimen.kernel, FLIPS / 3 + 1, seed)?;
        println!("{}: {flips}", specimen.kernel.release);
        ensure!(flips.missed.is_empty() && flips.not_judged == 0, "{flips}");
    }
    Ok(())
}
