//! Where a change came from, as far as that can be known: what the guard let through, and whether
//! it can be believed.
//!
//! The guard sees this node's writes and nothing else. When it is whole and let none through, a
//! change came from inside the node, or from a device: of those, not from one that is behind this
//! node's IOMMU, since what that is told to map is seen as well. Who was let map memory may write
//! there ever after, and nobody sees it.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::node::NodeName;
use watchdog_core::memory::{MemoryUse, RangeSet};
use watchdog_core::text::printable;
use watchdog_guard::{GuardEvent, LeaseTerms, Policies, Policy, WritePath};

/// Of what was let through, only the last is kept; of what lasts, the first.
const KEPT: usize = 256;
/// How long the guard's own report of something may take.
const SETTLE: Duration = Duration::from_millis(200);
/// How long it may take until who shares the memory of a process that was killed is found as well.
const SHARED: Duration = Duration::from_secs(5);
const PCI_DEVICES: &str = "/sys/bus/pci/devices";

/// The writes that the guard let through, and what else may have changed memory; shared with the
/// sweeper.
#[derive(Clone, Debug, Default)]
pub(super) struct WriteLog(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    policies: Policies,
    /// Whether the guard was whole when it was last tried; `None` without one.
    whole: Option<bool>,
    passed: VecDeque<PassedWrite>,
    /// Access that was let have, and may be there yet.
    lasting: Vec<PassedWrite>,
    /// What this kernel uses.
    uses: BTreeSet<MemoryUse>,
}

/// Something of this node's that was not stopped.
#[derive(Debug)]
struct PassedWrite {
    at: Instant,
    /// Where; `None` where that is not known.
    memory: Option<RangeSet>,
    what: String,
}

impl WriteLog {
    fn with<T>(&self, act: impl FnOnce(&mut Entries) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// For a guard with these policies.
    pub(super) fn new(policies: Policies) -> Self {
        Self(Arc::new(Mutex::new(Entries { policies, ..Entries::default() })))
    }

    /// Takes note of whether the guard is whole.
    pub(super) fn record_self_test(&self, is_whole: bool) {
        self.with(|entries| entries.whole = Some(is_whole));
    }

    /// Takes note of what the guard reports.
    pub(super) fn record_event(&self, event: &GuardEvent) {
        let (memory, path, what) = match event {
            // What is killed for what it has done may have done more in that moment.
            GuardEvent::Attempt(attempt) if attempt.action != Policy::Deny => {
                let (pid, comm) = (attempt.process.pid, printable(&attempt.process.comm, 16));
                let memory = attempt.range.map(|range| [range].into_iter().collect());
                let path = attempt.path;
                let is_over = attempt.action == Policy::Kill;
                let did = if is_over { "killed" } else { "did not stop" };
                let what = format!("the guard {did} process {pid} ({comm}) on path `{path}`");
                (memory, (!is_over).then_some(path), what)
            }
            // What is refused is refused, whoever it was.
            GuardEvent::Lost { path, .. } if self.is_refused(*path) => return,
            GuardEvent::Lost { path, count } => {
                let what = format!("{count} `{path}` attempts were not reported one by one");
                (None, Some(*path), what)
            }
            GuardEvent::RecursionMisses { path, count } => {
                (None, Some(*path), format!("{count} `{path}` calls were not judged"))
            }
            GuardEvent::Attempt(_) | GuardEvent::Inherited(_) | GuardEvent::Unreported { .. } => {
                return;
            }
        };
        let grace = if event.leaves_mappings() { SHARED } else { Duration::ZERO };
        let write = PassedWrite { at: Instant::now() + grace, memory, what };
        if path.is_some_and(WritePath::leaves_access) {
            self.add_lasting(write)
        } else {
            self.add(write)
        }
    }

    /// Whether policy refuses what goes a path, all of it.
    fn is_refused(&self, path: WritePath) -> bool {
        let policy = self.with(|entries| entries.policies.get(path));
        policy >= Policy::Deny && path.allows(Policy::Deny).is_ok()
    }

    /// Takes note of what this kernel uses, and of what it does no longer.
    pub(super) fn record_uses(&self, over: &[MemoryUse], now: &BTreeSet<MemoryUse>) {
        for it in over {
            let memory = Some([it.range].into_iter().collect());
            self.add(PassedWrite { at: Instant::now(), memory, what: describe_use(it) });
        }
        self.with(|entries| entries.uses.clone_from(now));
    }

    /// Takes note of a lease that is over.
    pub(super) fn record_lease(&self, memory: RangeSet, terms: &LeaseTerms) {
        let exe = printable(terms.exe.as_bytes(), 64);
        let what = format!("a lease allowed {exe} to write there");
        self.add(PassedWrite { at: Instant::now(), memory: Some(memory), what });
    }

    fn add(&self, write: PassedWrite) {
        self.with(|entries| {
            entries.passed.push_back(write);
            if entries.passed.len() > KEPT {
                entries.passed.pop_front();
            }
        });
    }

    fn add_lasting(&self, write: PassedWrite) {
        self.with(|entries| match entries.lasting.len() {
            0..KEPT => entries.lasting.push(write),
            // One more stands for all the others, wherever they are.
            KEPT => entries.lasting.push(PassedWrite { memory: None, ..write }),
            _ => {}
        });
    }

    /// What can be said of a change of a node's memory that was just seen and came after `since`,
    /// if it was looked at before; `None` without a guard.
    pub(super) fn attribute(
        &self,
        node: &NodeName,
        memory: &RangeSet,
        since: Option<Instant>,
    ) -> Option<String> {
        self.with(|entries| entries.whole)?;
        let Some(since) = since else {
            return Some(
                "The change was there at the first look, so its cause is unknown".to_owned(),
            );
        };
        // What the guard saw of it may be on its way yet.
        thread::sleep(SETTLE);
        self.with(|entries| {
            let is_whole = entries.whole?;
            let is_there = |it: &&PassedWrite| {
                it.memory.as_ref().is_none_or(|it| !it.intersection(memory).is_empty())
            };
            let just_now = entries.passed.iter().rev().filter(|it| it.at >= since);
            let mut writes = just_now.chain(entries.lasting.iter().rev()).filter(is_there);
            let mut uses = entries.uses.iter().filter(|it| memory.overlaps(&it.range));
            let write = writes.next().map(|it| it.what.clone());
            Some(match write.or_else(|| uses.next().map(describe_use)) {
                _ if !is_whole => "Possibly caused by node 0: the guard is not whole".to_owned(),
                Some(what) => format!("Possibly caused by node 0: before the change, {what}"),
                None => {
                    let which =
                        if is_behind_iommu() { " that the IOMMU does not confine" } else { "" };
                    format!(
                        "Not caused by node 0 (the guard let no write through). The change came \
                         from inside node {node}, or from a device{which}"
                    )
                }
            })
        })
    }
}

/// The sentence about memory that this kernel uses.
fn describe_use(it: &MemoryUse) -> String {
    format!(
        "node 0's kernel used memory of the node: {}",
        printable(it.to_string().as_bytes(), 256)
    )
}

/// Whether every PCI device of this node is behind an IOMMU that translates for it
/// (Documentation/ABI/testing/sysfs-kernel-iommu_groups, 6.1 to 7.2).
fn is_behind_iommu() -> bool {
    let Ok(devices) = fs::read_dir(PCI_DEVICES) else { return false };
    let mut count = 0;
    let all = devices.flatten().all(|device| {
        count += 1;
        let kind = fs::read_to_string(device.path().join("iommu_group/type")).unwrap_or_default();
        matches!(kind.trim(), "DMA" | "DMA-FQ" | "blocked")
    });
    all && count > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use watchdog_core::memory::UseKind;
    use watchdog_guard::{Attacker, Preset, WriteAttempt};

    fn attempt(path: WritePath, action: Policy, range: &str) -> GuardEvent {
        GuardEvent::Attempt(WriteAttempt {
            path,
            action,
            detail: None,
            range: range.parse().ok(),
            process: Attacker {
                pid: 7,
                tid: 7,
                uid: 0,
                comm: b"dd".to_vec(),
                exe: None,
                cgroup: None,
                parent: 1,
                parent_comm: Vec::new(),
            },
        })
    }

    /// Check that this node is ruled out only by a guard that is whole and let nothing through
    /// there since then, and that what may have been it is named.
    #[test]
    fn whose_write() {
        let mut policies = Policies::of(Preset::Standard);
        policies.set(WritePath::Write, Policy::Observe).expect("it can be observed");
        let (write_log, node) = (WriteLog::new(policies), "web".parse().expect("a name"));
        let memory: RangeSet = "0x1000..0x3000".parse().into_iter().collect();
        let since = Instant::now();
        let attribution = || write_log.attribute(&node, &memory, Some(since));
        assert_eq!(attribution(), None);
        write_log.record_self_test(true);
        write_log.record_event(&attempt(WritePath::Mmap, Policy::Deny, "0x1000..0x2000"));
        write_log.record_event(&attempt(WritePath::Mmap, Policy::Observe, "0x3000..0x4000"));
        let said = attribution().expect("a guard");
        assert!(
            said.contains("Not caused by node 0") && said.contains("inside node web"),
            "{said}"
        );
        let first = write_log.attribute(&node, &memory, None).expect("a guard");
        assert!(first.contains("its cause is unknown"), "{first}");
        write_log.record_event(&attempt(WritePath::Write, Policy::Observe, "0x2fff..0x4000"));
        write_log.record_event(&attempt(WritePath::Held, Policy::Kill, "0x2fff..0x4000"));
        assert!(attribution().expect("a guard").contains("path `held`"));
        write_log.record_event(&GuardEvent::Lost { path: WritePath::Write, count: 3 });
        write_log.record_event(&GuardEvent::Lost { path: WritePath::Mmap, count: 3 });
        assert!(attribution().expect("a guard").contains("3 `write` attempts"));
        let later = || write_log.attribute(&node, &memory, Some(Instant::now())).expect("a guard");
        assert!(later().contains("Not caused by node 0"), "{}", later());
        // What is claimed, and what it was, for as long as it may have been.
        let claimed = MemoryUse {
            range: "0x2000..0x2001".parse().expect("a range"),
            kind: UseKind::Mapped("phram".to_owned()),
        };
        write_log.record_uses(&[], &[claimed.clone()].into());
        assert!(later().contains("mapped by `phram`"), "{}", later());
        let before = Instant::now();
        write_log.record_uses(&[claimed], &BTreeSet::new());
        let since = write_log.attribute(&node, &memory, Some(before)).expect("a guard");
        assert!(since.contains("mapped by `phram`"), "{since}");
        assert!(later().contains("Not caused by node 0"), "{}", later());
        // What was mapped may be written ever after.
        write_log.record_event(&attempt(WritePath::Mmap, Policy::Observe, "0x2fff..0x4000"));
        let said = later();
        assert!(said.contains("the guard did not stop process 7 (dd) on path `mmap`"), "{said}");
        write_log.record_self_test(false);
        assert!(attribution().expect("a guard").contains("not whole"));
    }

    /// Check that who may share a driver's mapping with a process that was killed for it is not
    /// ruled out before he is found.
    #[test]
    fn shared() {
        let (write_log, node) = (WriteLog::default(), "web".parse().expect("a name"));
        write_log.record_self_test(true);
        write_log.record_event(&attempt(WritePath::Frames, Policy::Kill, "0x1000..0x2000"));
        let memory: RangeSet = "0x1000..0x3000".parse().into_iter().collect();
        let attribution =
            write_log.attribute(&node, &memory, Some(Instant::now())).expect("a guard");
        assert!(attribution.contains("path `frames`"), "{attribution}");
    }

    /// Check that of more mappings than are kept none is forgotten.
    #[test]
    fn many() {
        let (write_log, node) = (WriteLog::default(), "web".parse().expect("a name"));
        write_log.record_self_test(true);
        for _ in 0..=KEPT {
            write_log.record_event(&attempt(WritePath::Mmap, Policy::Observe, "0x1000..0x2000"));
        }
        let memory: RangeSet = "0x8000..0x9000".parse().into_iter().collect();
        let attribution =
            || write_log.attribute(&node, &memory, Some(Instant::now())).expect("a guard");
        assert!(attribution().contains("Possibly caused by node 0"), "{}", attribution());
    }
}
