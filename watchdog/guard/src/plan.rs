//! What a guard will be: decided before the kernel is changed, out of facts alone.

use std::collections::BTreeMap;

use watchdog_common::Rules;

use super::WritePath;
use super::attachment::Attachment;
use super::config::GuardConfig;
use super::error::{GuardError, InForceError};
use super::facts::KernelFacts;
use super::program::Stage;
use super::programs::lacking;
use super::record::Record;
use super::rules::{record, rules};

/// A guard that may be put in force on this kernel.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) rules: Rules,
    /// The programs, in the order in which they are attached.
    pub(super) attachments: Vec<Attachment>,
    /// Paths that some policy is about and that this kernel has no hook for, each with the reason.
    pub(super) lacking: BTreeMap<WritePath, String>,
    /// With the policies as they apply on this kernel. Without the programs' ids, which the kernel
    /// gives out later.
    pub(super) record: Record,
    /// What an earlier watch judged by, and this one does not; a sentence each.
    pub(super) changed: Vec<String>,
}

/// A guard that is in force already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Earlier<'a> {
    pub(super) record: &'a Record,
    /// Whether a watchdog runs that belongs to it.
    pub(super) is_watched: bool,
}

impl Plan {
    /// Plans a guard that replaces the earlier ones.
    ///
    /// # Errors
    /// - [`GuardError::TooManyRanges`], [`GuardError::TooManyWritable`],
    ///   [`GuardError::WritableNode`] if the configuration cannot be carried out.
    /// - [`InForceError::Watched`] if a watchdog of an earlier guard runs.
    /// - [`GuardError::Weaker`] if an earlier guard is stricter in anything.
    pub(super) fn new(
        config: &GuardConfig,
        facts: &KernelFacts,
        earlier: &[Earlier<'_>],
    ) -> Result<Self, GuardError> {
        let kernel = &facts.kernel;
        let policies =
            if facts.has_lsm() { config.policies.clone() } else { config.policies.deny_at_open() };
        let rules = rules(config, &policies, facts)?;
        let record = record(config, &policies, facts, &rules);
        Ok(Self {
            changed: replace(earlier, &record)?,
            attachments: Attachment::all(&kernel.btf, &policies, facts.has_lsm()),
            lacking: lacking(&kernel.btf, &policies, kernel.no_lsm.as_deref()),
            rules,
            record,
        })
    }

    /// The programs that are attached first (`late`: false), and those that are attached once they
    /// know this process: they deny bpf(2) to others.
    pub(super) fn attachments(&self, late: bool) -> impl Iterator<Item = &Attachment> {
        self.attachments.iter().filter(move |it| (it.program.stage == Stage::Late) == late)
    }
}

/// Checks that a guard with the record `new` may replace the earlier ones. Returns what an earlier
/// watch judged by and the new one does not.
fn replace(earlier: &[Earlier<'_>], new: &Record) -> Result<Vec<String>, GuardError> {
    let mut changed = Vec::new();
    for Earlier { record, is_watched } in earlier {
        if *is_watched {
            return Err(InForceError::Watched(record.pid).into());
        }
        record.yields_to(new).map_err(|why| GuardError::Weaker(record.armed, why))?;
        changed.extend(record.settings.changed(&new.settings));
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::made_up::{config, facts};
    use crate::program::Kind;
    use crate::programs::attach_order;
    use crate::{Policies, Policy, Preset};
    use watchdog_core::memory::RangeSet;

    fn node() -> GuardConfig {
        config(RangeSet::from_iter(["0x1000..0x3000".parse().unwrap()]))
    }

    fn plan(config: &GuardConfig, facts: &KernelFacts) -> Plan {
        Plan::new(config, facts, &[]).unwrap()
    }

    fn names(plan: &Plan, late: bool) -> Vec<&'static str> {
        plan.attachments(late).map(|it| it.program.name).collect()
    }

    /// Check that on a kernel with everything no path is lacking, that what the rules and the
    /// record say is what is configured, and that programs are attached in their order, those
    /// last that refuse to load others.
    #[test]
    fn everything_there() {
        let plan = plan(&node(), &facts(&[]));
        assert!(plan.lacking.is_empty(), "{:?}", plan.lacking);
        assert_eq!(plan.record.policies(), Policies::default());
        assert_eq!(plan.rules.ranges[0].start..plan.rules.ranges[0].end, 0x1000..0x3000);
        assert_eq!(plan.rules.init_mnt_ns, facts(&[]).init_mnt_ns);
        assert_eq!(plan.record.memory(), node().ranges);
        assert!(!plan.record.in_force && plan.record.programs.is_empty());
        assert_eq!(names(&plan, true), ["bpf_prog", "bpf"]);
        let first = names(&plan, false);
        let in_order = attach_order().into_iter().map(|it| it.program.name);
        let in_order = in_order.filter(|name| first.contains(name));
        assert_eq!(first, in_order.collect::<Vec<_>>());
        assert!(first.contains(&"sysctl") && !first.contains(&"device"), "{first:?}");
        // No policy of the standard preset is about this path.
        assert!(!first.contains(&"dma_phys"), "{first:?}");
        let mut strict = node();
        strict.policies = Policies::of(Preset::Strict);
        assert!(names(&self::plan(&strict, &facts(&[])), false).contains(&"dma_phys"));
    }

    /// Check that without LSM programs the device program stands in for them: uses of `/dev/mem`
    /// are denied at the open, no LSM program is attached, each path that only those deny is
    /// lacking for that reason, and nothing is said of mounts, which no program keeps.
    #[test]
    fn no_lsm() {
        let mut facts = facts(&[]);
        facts.kernel.no_lsm = Some("no `bpf` here".to_owned());
        let plan = plan(&node(), &facts);
        assert_eq!(plan.record.policies().get(WritePath::Open), Policy::Deny);
        assert_eq!(plan.rules.policy[WritePath::Open.number() as usize], Policy::Deny.number());
        assert_eq!(plan.rules.init_mnt_ns, 0);
        assert!(plan.attachments.iter().all(|it| it.program.kind != Kind::Lsm));
        assert!(names(&plan, false).contains(&"device") && names(&plan, true).is_empty());
        assert!(!plan.lacking.contains_key(&WritePath::Open));
        for path in [WritePath::Mmap, WritePath::SelfProtection, WritePath::Pci] {
            assert!(plan.lacking[&path].starts_with("no `bpf` here"), "{path}");
        }
        assert!(plan.lacking[&WritePath::Pci].contains("/dev/port"));
    }

    /// Check that a path whose function the kernel lacks is lacking and gets no program, that
    /// nothing else changes, and that a path is not lacking if other programs are enough for it.
    #[test]
    fn no_hook() {
        let all = plan(&node(), &facts(&[]));
        let without = plan(&node(), &facts(&["__ioremap_caller"]));
        let lacking: Vec<_> = without.lacking.iter().collect();
        let [(WritePath::Ioremap, why)] = lacking[..] else { panic!("{lacking:?}") };
        assert!(why.contains("__ioremap_caller"), "{why}");
        let mut expected = names(&all, false);
        expected.retain(|name| *name != "ioremap");
        assert_eq!(names(&without, false), expected);
        let place = |plan: &Plan, name: &str| {
            plan.attachments.iter().find(|it| it.program.name == name).map(Attachment::place)
        };
        assert_eq!(place(&all, "ioremap").unwrap(), "to the entry of __ioremap_caller");
        assert_eq!(place(&all, "mmap_file").unwrap(), "to the LSM hook bpf_lsm_mmap_file");
        assert!(plan(&node(), &facts(&["vmf_insert_pfn_pud"])).lacking.is_empty());
    }

    /// Check that a guard replaces one that is as strict, and says what that one's watch judged by
    /// and this one does not; and that it replaces none that is stricter, nor one that a watchdog
    /// belongs to.
    #[test]
    fn earlier_guards() {
        let facts = facts(&[]);
        let replaced = |record: &Record, is_watched: bool| {
            Plan::new(&node(), &facts, &[Earlier { record, is_watched }])
        };
        let mut record = plan(&node(), &facts).record;
        record.settings.images = [("web: vmlinuz".to_owned(), "1".to_owned())].into();
        let changed = replaced(&record, false).unwrap().changed;
        assert!(changed[0].contains("web: vmlinuz is gone"), "{changed:?}");
        let refused = replaced(&record, true);
        assert!(matches!(refused, Err(GuardError::InForce(InForceError::Watched(7)))));
        record.ranges.push((0x5000, 0x6000));
        let refused = replaced(&record, false);
        assert!(
            matches!(&refused, Err(GuardError::Weaker(_, why)) if why.contains("0x5000..0x6000")),
            "{refused:?}"
        );
        // Each earlier guard counts.
        let weak = plan(&node(), &facts).record;
        let both = [&weak, &record].map(|record| Earlier { record, is_watched: false });
        assert!(matches!(Plan::new(&node(), &facts, &both), Err(GuardError::Weaker(..))));
    }
}
