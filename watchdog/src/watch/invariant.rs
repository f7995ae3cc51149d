//! Checks an invariant on which everything else relies: node 0 does not use guarded memory. If it
//! did, its allocator would hand that memory out, and its page tables could end up there (the crash
//! of 2016).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::attribution::WriteLog;
use super::messages;
use crate::alert::Event;
use watchdog_core::memory::{MapError, MemoryUse, RangeSet, mapped, uses};
use watchdog_core::text::chain;
use watchdog_guard::{GuardEvent, WritePath};

/// How often the list of the kernel's own mappings is read. The list is long, and the guard's
/// programs see new mappings.
const MAPPED_INTERVAL: Duration = Duration::from_secs(10);

/// The reason why `guarded` cannot be guarded, if this kernel owns a part of it.
///
/// # Errors
/// [`MapError`] when the memory map cannot be read.
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

/// The result of the last check, to compare the next one with.
#[derive(Debug)]
pub(super) struct Invariant {
    guarded: RangeSet,
    known: BTreeSet<MemoryUse>,
    /// The kernel's own mappings, and when the list was read.
    mapped: Option<(Instant, Vec<MemoryUse>)>,
    /// The log has all uses, because a use may change a node.
    write_log: WriteLog,
    /// Why the last check failed.
    blind: Option<String>,
}

impl Invariant {
    pub(super) fn new(guarded: RangeSet, write_log: WriteLog) -> Self {
        Self { guarded, known: BTreeSet::new(), mapped: None, write_log, blind: None }
    }

    /// Reads the memory map, and every [`MAPPED_INTERVAL`] the kernel's own mappings. Returns an
    /// event for new uses, and one for uses that ended. This is cheap enough for every period.
    pub(super) fn check_uses(&mut self) -> Vec<Event> {
        let found = self.uses();
        self.compare(found)
    }

    /// Checks at once if an event of the guard may have changed how memory is used.
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
        let new: Vec<_> = found.difference(&self.known).collect();
        let over: Vec<_> = self.known.difference(&found).collect();
        let begun = messages::uses_begun(&new);
        let ended = messages::uses_ended(&over, found.len());
        let events = begun.into_iter().chain(ended).collect();
        self.write_log.record_uses(&over.into_iter().cloned().collect::<Vec<_>>(), &found);
        self.known = found;
        events
    }

    /// Reports once that the map cannot be read.
    fn cannot_look(&mut self, why: String) -> Option<Event> {
        if self.blind.as_ref() == Some(&why) {
            return None;
        }
        let event = messages::uses_unknown(&why);
        self.blind = Some(why);
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::EventKind;
    use watchdog_core::memory::UseKind;

    fn memory_use(range: &str, kind: UseKind) -> MemoryUse {
        MemoryUse { range: range.parse().unwrap(), kind }
    }

    /// Check that each use is reported once, with the highest severity, and that its end is
    /// reported once. Check that a failure to read the map is reported once, and that known uses
    /// stay known.
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
                if new.contains("driver of node 0") && !new.contains('\n') && over.contains("1 \
                    such")),
            "{reported:?}"
        );
        let reported = compare(Ok(vec![]));
        assert!(
            matches!(&*reported, [(EventKind::GuardArmed, it)] if it.contains("No such use")),
            "{reported:?}"
        );
    }

    /// Check that memory that the kernel owns is refused with a remedy, and that memory that a
    /// driver claimed is accepted.
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
