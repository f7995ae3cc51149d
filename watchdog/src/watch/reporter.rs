//! The path of the guard's events: first to the write log, then to the outlet.

use super::attempts::{Attempts, Owners};
use super::attribution::WriteLog;
use super::invariant::Invariant;
use crate::alert::Event;
use watchdog_guard::GuardEvent;

/// Reports the events of the guard's task: events from the guard, and events about it.
pub(super) struct Reporter {
    /// The memory of each node. The sweeper shares it.
    pub(super) owners: Owners,
    /// The writes that the guard let through. The sweeper shares it.
    pub(super) write_log: WriteLog,
    attempts: Attempts,
    /// `None` if no memory is guarded.
    invariant: Option<Invariant>,
    send: Box<dyn FnMut(Event)>,
}

impl Reporter {
    /// Each event goes to `send`.
    pub(super) fn new(
        write_log: WriteLog,
        invariant: Option<Invariant>,
        send: impl FnMut(Event) + 'static,
    ) -> Self {
        Self {
            owners: Owners::default(),
            write_log,
            attempts: Attempts::default(),
            invariant,
            send: Box::new(send),
        }
    }

    /// Reports an event.
    pub(super) fn report(&mut self, event: Event) {
        (self.send)(event);
    }

    /// Records an event of the guard in the write log. Then reports it, or counts it if it is one
    /// of many. This order matters because the sweeper attributes a change by the log alone.
    pub(super) fn guard_event(&mut self, event: GuardEvent) {
        let uses = self.invariant.as_mut().map(|it| it.check_uses_after(&event));
        self.write_log.record_event(&event);
        self.attempts.event(event, &self.owners).into_iter().for_each(&mut self.send);
        uses.into_iter().flatten().for_each(&mut self.send);
    }

    /// Checks that node 0's kernel does not use guarded memory.
    pub(super) fn check_uses(&mut self) {
        self.invariant.iter_mut().flat_map(Invariant::check_uses).for_each(&mut self.send);
    }

    /// Reports the attempts that were counted since the last call.
    pub(super) fn report_folded(&mut self) {
        self.attempts.folded(&self.owners).into_iter().for_each(&mut self.send);
    }
}
