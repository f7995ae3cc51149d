//! What the programs are told, and what the guard says of itself.

use std::os::unix::fs::MetadataExt;
use std::{fs, process};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use watchdog_common::{Offsets, Range, Rules};

use super::decoy::{DECOY, INNER_DECOY};
use super::record::{Record, by_name};
use super::{GuardConfig, GuardError, Policies, WritePath};
use crate::memory::RangeSet;

/// What the guard will say of itself.
pub(super) fn record(
    config: &GuardConfig,
    policies: &Policies,
    offsets: &Offsets,
    rules: &Rules,
) -> Record {
    let mut kernel = Sha256::new();
    // SAFETY: `repr(C)` and no padding, as `watchdog-common` proves.
    kernel.update(unsafe {
        std::slice::from_raw_parts((&raw const *offsets).cast::<u8>(), size_of::<Offsets>())
    });
    [&rules.lockdown, &rules.read_file, &rules.load_data].iter().for_each(|it| kernel.update(it));
    let now = Timestamp::now();
    let ranges = config.ranges.ranges().iter();
    Record {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: process::id(),
        in_force: false,
        armed: now,
        ranges: ranges.map(|range| (range.start().0, range.end().0)).collect(),
        policies: by_name(policies),
        release: config.release.clone(),
        kept: config.kept.clone(),
        programs: Vec::new(),
        kernel: crate::alert::hex(&kernel.finalize()),
        proven: now,
        coverage: Vec::new(),
    }
}

/// The rules as the programs hold them.
pub(super) fn rules(ranges: &RangeSet, policies: &Policies) -> Result<Rules, GuardError> {
    let ranges = ranges.ranges();
    // The number of a namespace is its file's inode number (fs/nsfs.c), 32 bits of it.
    let mounts = fs::metadata("/proc/1/ns/mnt").map_or(0, |status| status.ino());
    let mut rules = Rules {
        decoy: DECOY,
        inner_decoy: INNER_DECOY,
        watchdog: process::id(),
        mounts: u32::try_from(mounts).unwrap_or_default(),
        ..Rules::EMPTY
    };
    if ranges.len() > rules.ranges.len() {
        return Err(GuardError::TooManyRanges(ranges.len()));
    }
    for path in WritePath::ALL {
        if let Some(slot) = rules.policy.get_mut(path.number() as usize) {
            *slot = policies.get(path).number();
        }
    }
    for (slot, range) in rules.ranges.iter_mut().zip(ranges) {
        *slot = Range { start: range.start().0, end: range.end().0 };
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that exactly 64 ranges fit, and that more are refused, not cut.
    #[test]
    fn ranges_fit() {
        let rules = |count: u64| {
            let range = |n| format!("{}..{}", n * 0x2000, n * 0x2000 + 0x1000).parse();
            rules(&(0..count).flat_map(range).collect(), &Policies::default())
        };
        let full = rules(64).unwrap();
        assert_eq!(full.ranges[63], Range { start: 63 * 0x2000, end: 63 * 0x2000 + 0x1000 });
        assert!(matches!(rules(65), Err(GuardError::TooManyRanges(65))));
    }
}
