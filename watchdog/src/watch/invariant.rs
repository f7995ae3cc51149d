//! The invariant that everything else stands on: node 0 uses none of the guarded memory. Its
//! allocator would hand it out, and its page tables may end up there (the crash of 2016).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::attribution::WriteLog;
use crate::alert::{Event, EventKind};
use watchdog_core::memory::{MapError, MemoryUse, RangeSet, mapped, uses};
use watchdog_core::text::{chain, printable};
use watchdog_guard::{GuardEvent, WritePath};

/// How often is looked at what the kernel has mapped for itself, which is a long list; what is
/// mapped under the guard is seen by its programs.
const MAPPED_INTERVAL: Duration = Duration::from_secs(10);

/// Why `guarded` cannot be guarded at all: this kernel owns a part of it.
///
/// # Errors
/// When whose the memory is cannot be known.
pub(super) fn check(guarded: &RangeSet) -> Result<Option<String>, MapError> {
    Ok(refusal(&uses(guarded)?))
}

fn refusal(uses: &[MemoryUse]) -> Option<String> {
    let owned: Vec<_> = uses.iter().filter(|it| it.is_owned()).map(ToString::to_string).collect();
    (!owned.is_empty()).then(|| {
        format!(
            "the guard cannot protect memory that this kernel itself owns: {}. Reserve the nodes' \
             memory with memmap=SIZE$START on the kernel command line (not with `!`, which makes \
             persistent memory), or correct --node; /proc/iomem shows the map",
            owned.join(", ")
        )
    })
}

/// What was found when it was looked at last.
#[derive(Debug)]
pub(super) struct Invariant {
    guarded: RangeSet,
    known: BTreeSet<MemoryUse>,
    /// What the kernel had mapped for itself, and when that was looked at.
    mapped: Option<(Instant, Vec<MemoryUse>)>,
    /// Told of what is used, by which a node may be changed.
    write_log: WriteLog,
    /// Why it could not be looked at the last time.
    blind: Option<String>,
}

impl Invariant {
    pub(super) fn new(guarded: RangeSet, write_log: WriteLog) -> Self {
        Self { guarded, known: BTreeSet::new(), mapped: None, write_log, blind: None }
    }

    /// Looks at the memory map, and now and then at what the kernel has mapped; an event for what
    /// is new and one for what is over. Cheap enough for every period.
    pub(super) fn check_uses(&mut self) -> Vec<Event> {
        let found = self.uses();
        self.compare(found)
    }

    /// Looks at once, where what the guard reports may have changed whose memory is whose.
    pub(super) fn check_uses_after(&mut self, event: &GuardEvent) -> Vec<Event> {
        match event {
            GuardEvent::Attempt(attempt) if attempt.path == WritePath::Hotplug => self.check_uses(),
            GuardEvent::RecursionMisses { path: WritePath::Ioremap, .. } => {
                self.mapped = None;
                self.check_uses()
            }
            _ => Vec::new(),
        }
    }

    fn uses(&mut self) -> Result<Vec<MemoryUse>, MapError> {
        let mut all = uses(&self.guarded)?;
        let is_due = |(at, _): &(Instant, _)| at.elapsed() >= MAPPED_INTERVAL;
        if self.mapped.as_ref().is_none_or(is_due) {
            self.mapped = Some((Instant::now(), mapped(&self.guarded)?));
        }
        all.extend(self.mapped.iter().flat_map(|(_, mapped)| mapped.iter().cloned()));
        Ok(all)
    }

    fn compare(&mut self, found: Result<Vec<MemoryUse>, MapError>) -> Vec<Event> {
        let found: BTreeSet<MemoryUse> = match found {
            Ok(found) => found.into_iter().collect(),
            Err(error) => return self.cannot_look(chain(&error)).into_iter().collect(),
        };
        self.blind = None;
        let mut events = Vec::new();
        let new: Vec<_> = found.difference(&self.known).collect();
        if let Some(first) = new.first() {
            let mut event = Event::new(
                EventKind::GuardTampered,
                format!(
                    "Node 0's kernel uses memory of other nodes, which it must not: {}. {}",
                    sentence(&new),
                    if new.iter().any(|it| it.is_owned()) {
                        "The guard cannot stop it from writing there; both kernels may crash at \
                         any moment"
                    } else {
                        "A driver may write there"
                    }
                ),
            );
            (event.phys, event.length) = (Some(first.range.start()), Some(first.range.size()));
            events.push(event);
        }
        let over: Vec<_> = self.known.difference(&found).collect();
        if let Some(first) = over.first() {
            let left = match found.len() {
                0 => "No such use remains".to_owned(),
                1 => "1 such use remains".to_owned(),
                n => format!("{n} such uses remain"),
            };
            let mut event = Event::new(
                EventKind::GuardArmed,
                format!(
                    "A use of other nodes' memory by node 0's kernel ended: {}. {left}",
                    sentence(&over)
                ),
            );
            (event.phys, event.length) = (Some(first.range.start()), Some(first.range.size()));
            events.push(event);
        }
        self.write_log.record_uses(&over.into_iter().cloned().collect::<Vec<_>>(), &found);
        self.known = found;
        events
    }

    /// Reports once that the map cannot be read.
    fn cannot_look(&mut self, why: String) -> Option<Event> {
        if self.blind.as_ref() == Some(&why) {
            return None;
        }
        let event = Event::new(
            EventKind::GuardDegraded,
            format!("The check for uses of other nodes' memory by node 0's kernel failed: {why}"),
        );
        self.blind = Some(why);
        Some(event)
    }
}

/// Uses in a row, their names made printable.
fn sentence(uses: &[&MemoryUse]) -> String {
    const SHOWN: usize = 1024;
    let all: Vec<_> = uses.iter().map(ToString::to_string).collect();
    printable(all.join(", ").as_bytes(), SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use watchdog_core::memory::UseKind;

    fn memory_use(range: &str, kind: UseKind) -> MemoryUse {
        MemoryUse { range: range.parse().unwrap(), kind }
    }

    /// Check that each use is reported once, as the worst there is, and its end once; and that a
    /// map that cannot be read is reported once and forgets nothing.
    #[test]
    fn each_once() {
        let ram = || memory_use("0x38000000..0x40000000", UseKind::SystemRam);
        let claimed =
            || memory_use("0x50000000..0x50001000", UseKind::Claimed("dump\n".to_owned()));
        let mut invariant = Invariant::new(RangeSet::new(), WriteLog::default());
        let mut compare = |found: Result<Vec<MemoryUse>, MapError>| {
            let events = invariant.compare(found);
            events.into_iter().map(|it| (it.kind, it.message)).collect::<Vec<_>>()
        };
        assert!(compare(Ok(vec![])).is_empty());
        let reported = compare(Ok(vec![ram()]));
        let [(EventKind::GuardTampered, it)] = &*reported else { panic!("{reported:?}") };
        assert!(it.contains("0x38000000..0x40000000 is System RAM"), "{it}");
        assert!(compare(Ok(vec![ram()])).is_empty());
        let reported = compare(Err(MapError::Hidden));
        assert!(matches!(&*reported, [(EventKind::GuardDegraded, _)]), "{reported:?}");
        assert!(compare(Err(MapError::Hidden)).is_empty());
        assert!(compare(Ok(vec![ram()])).is_empty());
        let reported = compare(Ok(vec![claimed()]));
        assert!(
            matches!(&*reported, [(EventKind::GuardTampered, new), (EventKind::GuardArmed, over)]
                if new.contains("driver may write") && !new.contains('\n') && over.contains("1 \
                    such")),
            "{reported:?}"
        );
        let reported = compare(Ok(vec![]));
        assert!(
            matches!(&*reported, [(EventKind::GuardArmed, it)] if it.contains("No such use")),
            "{reported:?}"
        );
    }

    /// Check that memory of the kernel's own is refused with the remedy, and what a driver claimed
    /// is not.
    #[test]
    fn refused() {
        let persistent = memory_use("0x38000000..0x40000000", UseKind::Persistent);
        let why = refusal(&[persistent]).unwrap();
        assert!(why.contains("is persistent memory") && why.contains("memmap=SIZE$START"), "{why}");
        assert_eq!(
            refusal(&[memory_use("0x1000..0x2000", UseKind::Claimed("x".to_owned()))]),
            None
        );
    }
}
