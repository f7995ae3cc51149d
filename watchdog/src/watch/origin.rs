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

/// What the guard saw; shared with the sweeper.
#[derive(Clone, Debug, Default)]
pub(super) struct Doings(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    policies: Policies,
    /// Whether the guard was whole when it was last tried; `None` without one.
    whole: Option<bool>,
    through: VecDeque<Through>,
    /// Access that was let have, and may be there yet.
    lasting: Vec<Through>,
    /// What this kernel uses.
    uses: BTreeSet<MemoryUse>,
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

    /// For a guard with these policies.
    pub(super) fn new(policies: Policies) -> Self {
        Self(Arc::new(Mutex::new(Seen { policies, ..Seen::default() })))
    }

    /// Takes note of whether the guard is whole.
    pub(super) fn tried(&self, is_whole: bool) {
        self.with(|seen| seen.whole = Some(is_whole));
    }

    /// Takes note of what the guard tells.
    pub(super) fn saw(&self, event: &GuardEvent) {
        let (memory, path, what) = match event {
            // What is killed for what it has done may have done more in that moment.
            GuardEvent::Attempt(attempt) if attempt.action != Policy::Deny => {
                let (pid, comm) = (attempt.process.pid, printable(&attempt.process.comm, 16));
                let memory = attempt.range.map(|range| [range].into_iter().collect());
                let path = attempt.path;
                let is_over = attempt.action == Policy::Kill;
                let what = format!("process {pid} ({comm}) was not stopped by path {path}");
                (memory, (!is_over).then_some(path), what)
            }
            // What is refused is refused, whoever it was.
            GuardEvent::Lost { path, .. } if self.is_refused(*path) => return,
            GuardEvent::Lost { path, count } => {
                let what = format!("{count} attempts by {path} are not known one by one");
                (None, Some(*path), what)
            }
            GuardEvent::Missed { path, count } => {
                (None, Some(*path), format!("{count} calls by {path} were not judged"))
            }
            GuardEvent::Attempt(_) | GuardEvent::Inherited(_) | GuardEvent::Untold { .. } => return,
        };
        let grace = if event.leaves_mappings() { SHARED } else { Duration::ZERO };
        let through = Through { at: Instant::now() + grace, memory, what };
        if path.is_some_and(lasts) { self.add_lasting(through) } else { self.add(through) }
    }

    /// Whether policy refuses what goes a path, all of it.
    fn is_refused(&self, path: WritePath) -> bool {
        let policy = self.with(|seen| seen.policies.get(path));
        policy >= Policy::Deny && path.allows(Policy::Deny).is_ok()
    }

    /// Takes note of what this kernel uses, and of what it does no longer.
    pub(super) fn used(&self, over: &[MemoryUse], now: &BTreeSet<MemoryUse>) {
        for it in over {
            let memory = Some([it.range].into_iter().collect());
            self.add(Through { at: Instant::now(), memory, what: used(it) });
        }
        self.with(|seen| seen.uses.clone_from(now));
    }

    /// Takes note of a lease that is over.
    pub(super) fn leased(&self, memory: RangeSet, terms: &LeaseTerms) {
        let exe = printable(terms.exe.as_bytes(), 64);
        let what = format!("{exe} was let write it by a lease");
        self.add(Through { at: Instant::now(), memory: Some(memory), what });
    }

    fn add(&self, through: Through) {
        self.with(|seen| {
            seen.through.push_back(through);
            if seen.through.len() > KEPT {
                seen.through.pop_front();
            }
        });
    }

    fn add_lasting(&self, through: Through) {
        self.with(|seen| match seen.lasting.len() {
            0..KEPT => seen.lasting.push(through),
            // One more stands for all the others, wherever they are.
            KEPT => seen.lasting.push(Through { memory: None, ..through }),
            _ => {}
        });
    }

    /// What can be said of a change of a node's memory that was just seen and came after `since`,
    /// if it was looked at before; `None` without a guard.
    pub(super) fn origin(
        &self,
        node: &NodeName,
        memory: &RangeSet,
        since: Option<Instant>,
    ) -> Option<String> {
        self.with(|seen| seen.whole)?;
        let Some(since) = since else {
            return Some(
                "It was so when it was first looked at: whose doing it is cannot be known"
                    .to_owned(),
            );
        };
        // What the guard saw of it may be on its way yet.
        thread::sleep(SETTLE);
        self.with(|seen| {
            let is_whole = seen.whole?;
            let is_there = |it: &&Through| {
                it.memory.as_ref().is_none_or(|it| !it.intersection(memory).is_empty())
            };
            let just_now = seen.through.iter().rev().filter(|it| it.at >= since);
            let mut through = just_now.chain(seen.lasting.iter().rev()).filter(is_there);
            let mut uses = seen.uses.iter().filter(|it| memory.overlaps(&it.range));
            let through = through.next().map(|it| it.what.clone());
            Some(match through.or_else(|| uses.next().map(used)) {
                _ if !is_whole => "The guard is not whole: it may have been this node".to_owned(),
                Some(what) => format!("It may have been this node: before it, {what}"),
                None => {
                    let which =
                        if is_behind_iommu() { " that is not behind its IOMMU" } else { "" };
                    format!(
                        "It was not this node, of which no write was let through: it was changed \
                         from inside node {node}, or by a device{which}"
                    )
                }
            })
        })
    }
}

/// Whether who was let take this path may write later, without anybody looking.
fn lasts(path: WritePath) -> bool {
    use WritePath as P;
    match path {
        P::Mmap | P::RemapFilePages | P::Mprotect | P::Held => true,
        P::Frames | P::Fault | P::Iommu | P::Dma | P::Ioremap | P::Hotplug => true,
        P::Open | P::Write | P::Pci | P::Parameters | P::Module | P::Lockdown => false,
        P::KexecSegments | P::Kexec | P::Own | P::Ftrace => false,
        P::Bpf | P::Processors | P::Tracing => false,
    }
}

/// What is said of memory that this kernel uses.
fn used(it: &MemoryUse) -> String {
    format!("this kernel had memory of it: {}", printable(it.to_string().as_bytes(), 256))
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
    fn whose_doing() {
        let mut policies = Policies::of(Preset::Standard);
        policies.set(WritePath::Write, Policy::Observe).expect("it can be observed");
        let (doings, node) = (Doings::new(policies), "web".parse().expect("a name"));
        let memory: RangeSet = "0x1000..0x3000".parse().into_iter().collect();
        let since = Instant::now();
        let origin = || doings.origin(&node, &memory, Some(since));
        assert_eq!(origin(), None);
        doings.tried(true);
        doings.saw(&attempt(WritePath::Mmap, Policy::Deny, "0x1000..0x2000"));
        doings.saw(&attempt(WritePath::Mmap, Policy::Observe, "0x3000..0x4000"));
        let said = origin().expect("a guard");
        assert!(said.contains("It was not this node") && said.contains("node web"), "{said}");
        let first = doings.origin(&node, &memory, None).expect("a guard");
        assert!(first.contains("cannot be known"), "{first}");
        doings.saw(&attempt(WritePath::Write, Policy::Observe, "0x2fff..0x4000"));
        doings.saw(&attempt(WritePath::Held, Policy::Kill, "0x2fff..0x4000"));
        assert!(origin().expect("a guard").contains("path held"));
        doings.saw(&GuardEvent::Lost { path: WritePath::Write, count: 3 });
        doings.saw(&GuardEvent::Lost { path: WritePath::Mmap, count: 3 });
        assert!(origin().expect("a guard").contains("3 attempts by write"));
        let later = || doings.origin(&node, &memory, Some(Instant::now())).expect("a guard");
        assert!(later().contains("It was not this node"), "{}", later());
        // What is claimed, and what it was, for as long as it may have been.
        let claimed = MemoryUse {
            range: "0x2000..0x2001".parse().expect("a range"),
            kind: UseKind::Mapped("phram".to_owned()),
        };
        doings.used(&[], &[claimed.clone()].into());
        assert!(later().contains("mapped by `phram`"), "{}", later());
        let before = Instant::now();
        doings.used(&[claimed], &BTreeSet::new());
        let since = doings.origin(&node, &memory, Some(before)).expect("a guard");
        assert!(since.contains("mapped by `phram`"), "{since}");
        assert!(later().contains("It was not this node"), "{}", later());
        // What was mapped may be written ever after.
        doings.saw(&attempt(WritePath::Mmap, Policy::Observe, "0x2fff..0x4000"));
        assert!(later().contains("process 7 (dd) was not stopped by path mmap"), "{}", later());
        doings.tried(false);
        assert!(origin().expect("a guard").contains("not whole"));
    }

    /// Check that who may share a driver's mapping with a process that was killed for it is not
    /// ruled out before he is found.
    #[test]
    fn shared() {
        let (doings, node) = (Doings::default(), "web".parse().expect("a name"));
        doings.tried(true);
        doings.saw(&attempt(WritePath::Frames, Policy::Kill, "0x1000..0x2000"));
        let memory: RangeSet = "0x1000..0x3000".parse().into_iter().collect();
        let origin = doings.origin(&node, &memory, Some(Instant::now())).expect("a guard");
        assert!(origin.contains("path frames"), "{origin}");
    }

    /// Check that of more mappings than are kept none is forgotten.
    #[test]
    fn many() {
        let (doings, node) = (Doings::default(), "web".parse().expect("a name"));
        doings.tried(true);
        for _ in 0..=KEPT {
            doings.saw(&attempt(WritePath::Mmap, Policy::Observe, "0x1000..0x2000"));
        }
        let memory: RangeSet = "0x8000..0x9000".parse().into_iter().collect();
        let origin = || doings.origin(&node, &memory, Some(Instant::now())).expect("a guard");
        assert!(origin().contains("It may have been this node"), "{}", origin());
    }
}
