//! Single bits of a kernel's text, flipped at random.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use anyhow::{Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use watchdog_core::locate::Kernel;
use watchdog_core::memory::{Memory, PhysAddr, RawImage};
use watchdog_core::verify::{Difference, Verdict, Verifier};

use crate::overlay::Overlay;

/// Number of bits flipped at once, far from each other.
const AT_ONCE: u64 = 101;
/// Bytes between two of them, at least: more than a site has.
const APART: u64 = 64;
/// Flips that are listed one by one.
const LISTED: usize = 16;

/// What a verifier said of flipped bits.
#[derive(Clone, Debug, Default)]
pub struct Flips {
    /// Reported as unexplained, or as instrumentation.
    pub found: usize,
    /// Bits that make another form that is allowed at the site, by that form.
    pub allowed: BTreeMap<String, usize>,
    /// Bits at places that the verifier reports as not judged.
    pub not_judged: usize,
    /// Not reported: offset in the text and the changed byte.
    pub missed: Vec<String>,
}

impl Flips {
    /// Number of flipped bits.
    #[must_use]
    pub fn all(&self) -> usize {
        let allowed: usize = self.allowed.values().sum();
        self.found + allowed + self.not_judged + self.missed.len()
    }
}

impl fmt::Display for Flips {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allowed: usize = self.allowed.values().sum();
        write!(
            f,
            "{} bits flipped, {} found, {allowed} made another allowed form, {} not judged, {} \
             missed",
            self.all(),
            self.found,
            self.not_judged,
            self.missed.len()
        )?;
        self.allowed.iter().try_for_each(|(form, count)| write!(f, "\n  {count} x {form}"))?;
        self.missed.iter().take(LISTED).try_for_each(|flip| write!(f, "\n  missed: {flip}"))
    }
}

/// Flips at least `count` bits of the text, many at once, each time in unchanged memory.
///
/// # Errors
/// If memory cannot be read, or a verdict with flipped bits is not `tampered`.
pub fn flip(
    verifier: &mut Verifier,
    memory: &RawImage,
    kernel: &Kernel,
    count: usize,
    seed: u64,
) -> Result<Flips> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut flips = Flips::default();
    while flips.all() < count {
        let spacing = kernel.text.size / AT_ONCE;
        let mut patches = Vec::new();
        for n in 0..AT_ONCE {
            let at = n * spacing + random.random_range(0..spacing - APART);
            let mut byte = [0];
            memory.read(PhysAddr(kernel.text.phys.0 + at), &mut byte)?;
            byte[0] ^= 1 << random.random_range(0..8);
            patches.push((u32::try_from(at)?, byte.to_vec()));
        }
        let changed = Overlay::of(memory, kernel.text.phys, &patches);
        let swept = verifier.sweep(&changed, kernel, usize::MAX)?;
        ensure!(swept.verdict == Verdict::Tampered, "{}", swept.verdict);
        let place = |it: &Difference| place(it, kernel);
        let instrumented: Vec<_> = verifier.instrumented(kernel).collect();
        let places: Vec<_> = swept.unexplained.iter().chain(&instrumented).map(place).collect();
        let patched: Vec<_> = verifier.patched(kernel).collect();
        let not_judged: Vec<_> = verifier.not_judged(kernel).map(|it| place(&it)).collect();
        for (at, byte) in &patches {
            let covers = |place: &Range<u64>| place.contains(&u64::from(*at));
            if places.iter().any(covers) {
                flips.found += 1;
            } else if let Some(site) = patched.iter().find(|it| covers(&place(it))) {
                let form = format!("{:?}: {}", site.mechanism, site.found_asm);
                *flips.allowed.entry(form).or_default() += 1;
            } else if not_judged.iter().any(covers) {
                flips.not_judged += 1;
            } else {
                flips.missed.push(format!("{at:#x} = {byte:x?}"));
            }
        }
    }
    Ok(flips)
}

/// The place of a difference, in bytes from the start of the text.
fn place(difference: &Difference, kernel: &Kernel) -> Range<u64> {
    let start = difference.phys.0.wrapping_sub(kernel.text.phys.0);
    start..start.saturating_add(difference.found.len() as u64)
}
