//! Lists of made-up kernels in the layouts of several versions and options, and lists that fit
//! none.

mod hostile;
mod modules;
mod probes;
mod programs;
mod tracers;

use super::super::super::State;
use super::fit::Fit;
use crate::verify::made_up::{OWN, Suspect};
use crate::verify::reference::Unfit;

/// Code outside the image, and an address of the made-up kernel that is not mapped.
const CODE: u64 = OWN.0;
const NOWHERE: u64 = 0x1000;
/// Where entries of lists are.
const ENTRIES: u64 = OWN.0 + 0x10_0000;

/// Neither layout nor entries.
const NONE: Unfit = Unfit::None;

/// Writes one word of memory outside the image.
fn put(suspect: &Suspect, at: u64, word: u64) {
    suspect.own(at, &[word]);
}

fn state(suspect: &Suspect) -> State<'_> {
    State::of(&suspect.machine, &suspect.kernel)
}

/// Virtual address of a place in the image.
fn image(suspect: &Suspect, offset: u32) -> u64 {
    suspect.kernel.text.virt.0 + u64::from(offset)
}
