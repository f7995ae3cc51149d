//! Tests with the read-only data of a made-up kernel.

use super::*;
use crate::verify::made_up::{RODATA, Suspect, reference};

/// Check that a single change is reported at its place, and an overwritten page as one difference.
#[test]
fn overwritten_pages() {
    let suspect = Suspect::new();
    let mut reference = reference();
    let rodata = std::mem::take(&mut reference.rodata);
    let mut watch = RodataWatch::new(Arc::new(reference), rodata, 0);
    suspect.image(RODATA + 8, &[1]);
    (0..200).for_each(|n| suspect.image(RODATA + 0x1000 + n * 16, &[1]));
    watch.sweep(&suspect.machine, &suspect.kernel);
    let first = suspect.kernel.text.phys.0 + u64::from(RODATA);
    let places = watch.differences(&suspect.kernel);
    let places: Vec<_> = places.map(|it| (it.phys.0 - first, it.found.len())).collect();
    assert_eq!(places, [(8, 1), (0x1000, 199 * 16 + 1)]);
    assert_eq!(watch.wrong(), 2);
}
