//! Where a change came from, as far as that can be known: what the guard let through, and whether it
//! can be believed.
//!
//! The guard sees this node's writes and nothing else. When it is whole and let none through, a change
//! came from inside the node, or from a device: of those, not from one that is behind this node's
//! IOMMU, since what that is told to map is seen as well.

use std::collections::VecDeque;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::alert::printable;
use crate::guard::{GuardEvent, LeaseTerms, Policy};
use crate::memory::RangeSet;
use crate::node::NodeName;

/// Of what was let through, only the last is kept.
const KEPT: usize = 256;
/// How long the guard's own report of something may take.
const SETTLE: Duration = Duration::from_millis(200);
const PCI_DEVICES: &str = "/sys/bus/pci/devices";

/// What the guard saw; shared with the sweeper.
#[derive(Clone, Debug, Default)]
pub(super) struct Doings(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    /// Whether the guard was whole when it was last tried; `None` without one.
    whole: Option<bool>,
    through: VecDeque<Through>,
}

/// Something of this node's that was not stopped.
#[derive(Debug)]
struct Through {
    at: Instant,
    /// Where; `None` where that is not known.
    memory: Option<RangeSet>,
    what: String,
}

impl Doings {
    fn with<T>(&self, act: impl FnOnce(&mut Seen) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes note of whether the guard is whole.
    pub(super) fn tried(&self, is_whole: bool) {
        self.with(|seen| seen.whole = Some(is_whole));
    }

    /// Takes note of what the guard tells.
    pub(super) fn saw(&self, event: &GuardEvent) {
        let (memory, what) = match event {
            // What is killed for what it has done may have done more in that moment.
            GuardEvent::Attempt(attempt) if attempt.action != Policy::Deny => {
                let (pid, comm) = (attempt.process.pid, printable(&attempt.process.comm, 16));
                let memory = attempt.range.map(|range| [range].into_iter().collect());
                (memory, format!("process {pid} ({comm}) was not stopped by path {}", attempt.path))
            }
            GuardEvent::Lost { path, count } => {
                (None, format!("{count} attempts by {path} are not known one by one"))
            }
            GuardEvent::Missed { path, count } => {
                (None, format!("{count} calls by {path} were not judged"))
            }
            GuardEvent::Attempt(_) | GuardEvent::Inherited(_) | GuardEvent::Untold { .. } => return,
        };
        self.add(memory, what);
    }

    /// Takes note of a lease that is over.
    pub(super) fn leased(&self, memory: RangeSet, terms: &LeaseTerms) {
        let exe = printable(terms.exe.as_bytes(), 64);
        self.add(Some(memory), format!("{exe} was let write it by a lease"));
    }

    fn add(&self, memory: Option<RangeSet>, what: String) {
        self.with(|seen| {
            seen.through.push_back(Through { at: Instant::now(), memory, what });
            if seen.through.len() > KEPT {
                seen.through.pop_front();
            }
        });
    }

    /// What can be said of a change of a node's memory that was just seen and came after `since`;
    /// `None` without a guard.
    pub(super) fn origin(
        &self,
        node: &NodeName,
        memory: &RangeSet,
        since: Instant,
    ) -> Option<String> {
        self.with(|seen| seen.whole)?;
        // What the guard saw of it may be on its way yet.
        thread::sleep(SETTLE);
        self.with(|seen| {
            let is_whole = seen.whole?;
            let about = |it: &&Through| {
                let there = it.memory.as_ref();
                it.at >= since && there.is_none_or(|it| !it.intersection(memory).is_empty())
            };
            Some(match seen.through.iter().rev().find(about) {
                _ if !is_whole => "The guard is not whole: it may have been this node".to_owned(),
                Some(it) => format!("It may have been this node: before it, {}", it.what),
                None => {
                    let which = if is_behind_iommu() { " that is not behind its IOMMU" } else { "" };
                    format!(
                        "It was not this node, of which no write was let through: it was changed from inside node {node}, or by a device{which}"
                    )
                }
            })
        })
    }
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
    use crate::guard::{Attacker, WriteAttempt, WritePath};

    fn attempt(action: Policy, range: &str) -> GuardEvent {
        GuardEvent::Attempt(WriteAttempt {
            path: WritePath::Mmap,
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

    /// Check that this node is ruled out only by a guard that is whole and let nothing through there
    /// since then, and that what may have been it is named.
    #[test]
    fn whose_doing() {
        let (doings, node) = (Doings::default(), "web".parse().expect("a name"));
        let memory: RangeSet = "0x1000..0x3000".parse().into_iter().collect();
        let since = Instant::now();
        let origin = || doings.origin(&node, &memory, since);
        assert_eq!(origin(), None);
        doings.tried(true);
        doings.saw(&attempt(Policy::Deny, "0x1000..0x2000"));
        doings.saw(&attempt(Policy::Observe, "0x3000..0x4000"));
        let said = origin().expect("a guard");
        assert!(said.contains("It was not this node") && said.contains("node web"), "{said}");
        doings.saw(&attempt(Policy::Observe, "0x2fff..0x4000"));
        assert!(origin().expect("a guard").contains("process 7 (dd) was not stopped by path mmap"));
        let later = doings.origin(&node, &memory, Instant::now()).expect("a guard");
        assert!(later.contains("It was not this node"), "{later}");
        doings.saw(&GuardEvent::Lost { path: WritePath::Iommu, count: 3 });
        assert!(origin().expect("a guard").contains("3 attempts by iommu"));
        doings.tried(false);
        assert!(origin().expect("a guard").contains("not whole"));
    }
}
