//! The plan of a guard. It is made from facts alone, before anything in the kernel changes.

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

/// A guard that can be put in force on this kernel.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) rules: Rules,
    /// The programs, in the order in which they are attached.
    pub(super) attachments: Vec<Attachment>,
    /// Paths whose policy is not `off` and for which this kernel has no hook, each with the reason.
    pub(super) lacking: BTreeMap<WritePath, String>,
    /// The record, with the policies as they apply on this kernel. It has no ids of programs: the
    /// kernel assigns them later.
    pub(super) record: Record,
    /// Images and baselines that an earlier watch used and this one does not; a sentence each.
    pub(super) changed: Vec<String>,
}

/// A guard that is in force already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Earlier<'a> {
    pub(super) record: &'a Record,
    /// Whether this guard's watchdog still runs.
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

    /// The programs that are attached first (`late`: false) or last (`late`: true). The last ones
    /// deny bpf(2) to others, so they are attached once the programs know this process.
    pub(super) fn attachments(&self, late: bool) -> impl Iterator<Item = &Attachment> {
        self.attachments.iter().filter(move |it| (it.program.stage == Stage::Late) == late)
    }
}

/// Checks that a guard with the record `new` may replace the earlier ones. Returns the images and
/// baselines that an earlier watch used and the new one does not.
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

    /// Check that no path is lacking on a kernel with every hook, and that rules and record have
    /// the configured values. Check that programs are attached in their order, and those last that
    /// deny loading others.
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
        // In the standard preset, the policy of this path is `off`.
        assert!(!first.contains(&"dma_phys"), "{first:?}");
        let mut strict = node();
        strict.policies = Policies::of(Preset::Strict);
        assert!(names(&self::plan(&strict, &facts(&[])), false).contains(&"dma_phys"));
    }

    /// Check the plan without LSM programs. The device program replaces them: it denies opening
    /// `/dev/mem`. No LSM program is attached. Each path that only LSM programs deny is lacking for
    /// that reason. The rules name no mount namespace, because no program uses it.
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

    /// Check that a path whose function the kernel lacks is lacking and gets no program, and that
    /// nothing else changes. Check that a path is not lacking if its other programs suffice.
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

    /// Check that a guard replaces one that is as strict, and names the images that only the
    /// earlier watch used. Check that it replaces neither a stricter guard nor one whose watchdog
    /// runs.
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
        // Each earlier guard is checked.
        let weak = plan(&node(), &facts).record;
        let both = [&weak, &record].map(|record| Earlier { record, is_watched: false });
        assert!(matches!(Plan::new(&node(), &facts, &both), Err(GuardError::Weaker(..))));
    }
}
