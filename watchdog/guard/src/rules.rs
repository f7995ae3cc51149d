//! What the programs are told, and what the guard says of itself.

use std::{fs, io, process};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use watchdog_common::{Offsets, Range, Rules};

use super::canary::{CANARY, INNER_CANARY};
use super::config::GuardConfig;
use super::record::{Record, by_name};
use super::{GuardError, Policies, Processors, WritePath};
use watchdog_core::memory::RangeSet;

/// What the guard will say of itself.
pub(super) fn record(
    config: &GuardConfig,
    policies: &Policies,
    offsets: &Offsets,
    rules: &Rules,
) -> Result<Record, GuardError> {
    let mut kernel = Sha256::new();
    // SAFETY: `repr(C)` and no padding, as `watchdog-common` proves.
    kernel.update(unsafe {
        std::slice::from_raw_parts((&raw const *offsets).cast::<u8>(), size_of::<Offsets>())
    });
    let tables = [
        &rules.lockdown,
        &rules.read_file,
        &rules.load_data,
        &rules.program_types,
        &rules.attach_types,
    ];
    tables.iter().for_each(|it| kernel.update(it));
    let helpers = rules.helpers.iter().flat_map(|it| it.to_ne_bytes());
    kernel.update(helpers.collect::<Vec<_>>());
    let numbers = rules.schedulers.iter().chain([&rules.has_lsm, &rules.init_mnt_ns]);
    numbers.for_each(|it| kernel.update(it.to_ne_bytes()));
    let now = Timestamp::now();
    let pairs = |set: &RangeSet| -> Vec<(u64, u64)> {
        set.ranges().iter().map(|range| (range.start().0, range.end().0)).collect()
    };
    Ok(Record {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: process::id(),
        in_force: false,
        armed: now,
        ranges: pairs(&config.ranges),
        writable: pairs(&config.writable),
        processors: processors(config)?,
        settings: config.settings.clone(),
        policies: by_name(policies),
        release: config.release.clone(),
        kept: config.protected_files.clone(),
        programs: Vec::new(),
        kernel: watchdog_core::text::hex(&kernel.finalize()),
        proven: now,
        coverage: Vec::new(),
    })
}

/// Where the kernel lists the processors that run.
const ONLINE: &str = "/sys/devices/system/cpu/online";

/// The rules as the programs hold them.
pub(super) fn rules(config: &GuardConfig, policies: &Policies) -> Result<Rules, GuardError> {
    let ranges = config.ranges.ranges();
    let mut rules = Rules {
        canary: CANARY,
        inner_canary: INNER_CANARY,
        watchdog: process::id(),
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
    fill(&mut rules.ranges, &config.ranges);
    if config.writable.ranges().len() > rules.writable.len() {
        return Err(GuardError::TooManyWritable(config.writable.ranges().len()));
    }
    if let Some(range) = ranges.iter().find(|range| config.writable.overlaps(range)) {
        return Err(GuardError::WritableNode(*range));
    }
    fill(&mut rules.writable, &config.writable);
    rules.processors = processors(config)?.words();
    Ok(rules)
}

/// Processors that may be started: those that run, and those that are configured.
fn processors(config: &GuardConfig) -> Result<Processors, GuardError> {
    let online = fs::read_to_string(ONLINE).map_err(GuardError::Processors)?;
    let online: Processors = online.trim().parse().map_err(|why: String| {
        GuardError::Processors(io::Error::new(io::ErrorKind::InvalidData, why))
    })?;
    Ok(online.with(&config.processors))
}

/// Puts ranges into a table of the rules.
fn fill(table: &mut [Range], ranges: &RangeSet) {
    for (slot, range) in table.iter_mut().zip(ranges.ranges()) {
        *slot = Range { start: range.start().0, end: range.end().0 };
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::{Release, Settings};
    use watchdog_core::memory::PhysRange;

    /// Check that exactly 64 ranges fit, and that more are refused, not cut.
    #[test]
    fn ranges_fit() {
        let rules = |count: u64| {
            let range = |n| format!("{}..{}", n * 0x2000, n * 0x2000 + 0x1000).parse();
            rules(&config((0..count).flat_map(range).collect()), &Policies::default())
        };
        let full = rules(64).unwrap();
        assert_eq!(full.ranges[63], Range { start: 63 * 0x2000, end: 63 * 0x2000 + 0x1000 });
        assert!(matches!(rules(65), Err(GuardError::TooManyRanges(65))));
    }

    /// Check that nothing of a node is left to be written, and that the processors are those that
    /// run and those that are named.
    #[test]
    fn writable_and_processors() {
        let set = |text: &str| RangeSet::from_iter([text.parse::<PhysRange>().unwrap()]);
        let mut config = config(set("0x1000..0x3000"));
        config.writable = set("0x2000..0x4000");
        let refused = rules(&config, &Policies::default());
        assert!(matches!(refused, Err(GuardError::WritableNode(_))));
        config.writable = set("0x3000..0x4000");
        config.processors = "8000".parse().unwrap();
        let now = rules(&config, &Policies::default()).unwrap();
        assert_eq!(now.writable[0], Range { start: 0x3000, end: 0x4000 });
        assert!(now.processors[0] & 1 == 1 && now.processors[125] == 1);
    }

    fn config(ranges: RangeSet) -> GuardConfig {
        GuardConfig {
            ranges,
            writable: RangeSet::default(),
            processors: Processors::default(),
            policies: Policies::default(),
            release: Release::Console,
            protected_files: Vec::new(),
            baselines: PathBuf::new(),
            settings: Settings::default(),
            without_lsm: false,
        }
    }
}
