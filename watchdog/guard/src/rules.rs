//! The rules for the programs, and the record of the guard.

use sha2::{Digest, Sha256};
use watchdog_common::{Offsets, Range, Rules};

use super::canary::{CANARY, INNER_CANARY};
use super::config::GuardConfig;
use super::facts::KernelFacts;
use super::record::{Record, by_name};
use super::{Coverage, GuardError, Policies, Processors, WritePath};
use watchdog_core::memory::RangeSet;

/// The record of a guard with these rules. It has no ids of programs: none is loaded yet.
pub(super) fn record(
    config: &GuardConfig,
    policies: &Policies,
    facts: &KernelFacts,
    rules: &Rules,
) -> Record {
    let pairs = |set: &RangeSet| -> Vec<(u64, u64)> {
        set.ranges().iter().map(|range| (range.start().0, range.end().0)).collect()
    };
    Record {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: facts.pid,
        in_force: false,
        armed: facts.now,
        ranges: pairs(&config.ranges),
        writable: pairs(&config.writable),
        processors: processors(config, facts),
        settings: config.settings.clone(),
        policies: by_name(policies),
        release: config.release.clone(),
        kept: config.protected_files.clone(),
        programs: Vec::new(),
        kernel: digest(&facts.kernel.offsets, rules),
        proven: facts.now,
        coverage: Coverage::default(),
    }
}

/// SHA-256 of all kernel values in the programs' constants, as hex.
fn digest(offsets: &Offsets, rules: &Rules) -> String {
    let mut kernel = Sha256::new();
    // SAFETY: `repr(C)` without padding, as an assertion in `watchdog-common` checks.
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
    watchdog_core::text::hex(&kernel.finalize())
}

/// The rules in the form that the programs use.
///
/// # Errors
/// [`GuardError::TooManyRanges`], [`GuardError::TooManyWritable`], [`GuardError::WritableNode`].
pub(super) fn rules(
    config: &GuardConfig,
    policies: &Policies,
    facts: &KernelFacts,
) -> Result<Rules, GuardError> {
    let enums = &facts.enums;
    let mut rules = Rules {
        processors: processors(config, facts).words(),
        canary: CANARY,
        inner_canary: INNER_CANARY,
        watchdog: facts.pid,
        has_lsm: facts.has_lsm().into(),
        init_mnt_ns: if facts.has_lsm() { facts.init_mnt_ns } else { 0 },
        lockdown: enums.lockdown,
        read_file: enums.read_file,
        load_data: enums.load_data,
        program_types: enums.program_types,
        attach_types: enums.attach_types,
        helpers: facts.helpers.unwrap_or_default(),
        schedulers: enums.schedulers,
        ..Rules::EMPTY
    };
    let (ranges, writable) = (config.ranges.ranges(), config.writable.ranges());
    if ranges.len() > rules.ranges.len() {
        return Err(GuardError::TooManyRanges(ranges.len()));
    }
    if writable.len() > rules.writable.len() {
        return Err(GuardError::TooManyWritable(writable.len()));
    }
    if let Some(range) = ranges.iter().find(|range| config.writable.overlaps(range)) {
        return Err(GuardError::WritableNode(*range));
    }
    fill(&mut rules.ranges, &config.ranges);
    fill(&mut rules.writable, &config.writable);
    for path in WritePath::ALL {
        rules.policy[path.number() as usize] = policies.get(path).number();
    }
    Ok(rules)
}

/// Processors that may be started: those that run now, and those that are configured.
fn processors(config: &GuardConfig, facts: &KernelFacts) -> Processors {
    facts.online.with(&config.processors)
}

/// Writes ranges into a table of the rules.
fn fill(table: &mut [Range], ranges: &RangeSet) {
    for (slot, range) in table.iter_mut().zip(ranges.ranges()) {
        *slot = Range { start: range.start().0, end: range.end().0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::made_up::{config, facts};
    use watchdog_core::memory::PhysRange;

    /// Check that exactly 64 ranges fit, and that more are refused, not truncated.
    #[test]
    fn ranges_fit() {
        let rules = |count: u64| {
            let range = |n| format!("{}..{}", n * 0x2000, n * 0x2000 + 0x1000).parse();
            let config = config((0..count).flat_map(range).collect());
            rules(&config, &Policies::default(), &facts(&[]))
        };
        let full = rules(64).unwrap();
        assert_eq!(full.ranges[63], Range { start: 63 * 0x2000, end: 63 * 0x2000 + 0x1000 });
        assert!(matches!(rules(65), Err(GuardError::TooManyRanges(65))));
    }

    /// Check that no range of a node can be writable. Check that the processors are those that run
    /// and those that are configured.
    #[test]
    fn writable_and_processors() {
        let set = |text: &str| RangeSet::from_iter([text.parse::<PhysRange>().unwrap()]);
        let mut config = config(set("0x1000..0x3000"));
        config.writable = set("0x2000..0x4000");
        let rules = |config: &GuardConfig| rules(config, &Policies::default(), &facts(&[]));
        assert!(matches!(rules(&config), Err(GuardError::WritableNode(_))));
        config.writable = set("0x3000..0x4000");
        config.processors = "8000".parse().unwrap();
        let now = rules(&config).unwrap();
        assert_eq!(now.writable[0], Range { start: 0x3000, end: 0x4000 });
        assert_eq!((now.processors[0], now.processors[125]), (0b1111, 1));
    }

    /// Check that the record's digest changes with an offset, an enumeration, a helper's address
    /// and the mount namespace, but not with the configuration.
    #[test]
    fn digest_of_the_kernel() {
        let of = |facts: &KernelFacts, policies: &Policies| {
            let config = config(RangeSet::default());
            let rules = rules(&config, policies, facts).unwrap();
            record(&config, policies, facts, &rules).kernel
        };
        let (known, policies) = (facts(&[]), Policies::default());
        let strict = Policies::of(crate::Preset::Strict);
        assert_eq!(of(&known, &policies), of(&facts(&[]), &strict));
        let changes: [fn(&mut KernelFacts); 4] = [
            |facts| facts.kernel.offsets.file_mode = 8,
            |facts| facts.enums.attach_types[3] = 1,
            |facts| facts.helpers = Some([4; watchdog_common::HELPERS]),
            |facts| facts.init_mnt_ns += 1,
        ];
        for change in changes {
            let mut other = facts(&[]);
            change(&mut other);
            assert_ne!(of(&known, &policies), of(&other, &policies), "{other:?}");
        }
    }
}
