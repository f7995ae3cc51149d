//! The service after its start: how it handles each wakeup. Nothing here waits.

use libsystemd::daemon::NotifyState;

use super::error::WatchError;
use super::messages;
use super::pulse::{Heart, Pulse, notify};
use super::reporter::Reporter;
use super::second::{self, SecondReport};
use super::wakeup::{Wakeup, Wakeups};
use super::watched_guard::WatchedGuard;

/// The guard's side of the watch. The sweeper's side is a separate thread.
pub(super) struct Service {
    /// `None` if nothing is guarded, or if the guard could not be loaded.
    guard: Option<WatchedGuard>,
    reporter: Reporter,
    /// Beats after each self-test.
    tested: Heart,
    /// The signs of life of self-tests and sweeps.
    pulse: Pulse,
}

/// Whether the service continues after a wakeup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Continue,
    Stop,
}

impl Service {
    /// `sweeps` beats after each sweep.
    pub(super) fn new(guard: Option<WatchedGuard>, reporter: Reporter, sweeps: Heart) -> Self {
        let tested = Heart::default();
        let pulse = Pulse::new([sweeps, tested.clone()]);
        Self { guard, reporter, tested, pulse }
    }

    /// Handles wakeups until one stops the service. The sweeper and the patrol end with it.
    ///
    /// # Errors
    /// [`WatchError::Broken`] and [`WatchError::SweeperDied`].
    pub(super) async fn run(mut self, mut wakeups: Wakeups<'_>) -> Result<(), WatchError> {
        loop {
            let wakeup = wakeups.next(self.guard.as_mut()).await;
            if self.handle(wakeup)? == Flow::Stop {
                return Ok(());
            }
        }
    }

    fn handle(&mut self, wakeup: Wakeup) -> Result<Flow, WatchError> {
        match wakeup {
            Wakeup::GuardEvent(event) => self.reporter.guard_event(event),
            Wakeup::SelfTestDue => self.test(),
            Wakeup::SecondTest(report) => self.second_test(report),
            Wakeup::LeaseDue => {
                self.guard.iter_mut().for_each(|it| it.update_lease(&mut self.reporter));
            }
            Wakeup::HangUp => log::info!("SIGHUP: nothing to reload; restart the service"),
            Wakeup::SweeperFailed(error) => {
                return Err(error.map_or(WatchError::SweeperDied, WatchError::Broken));
            }
            Wakeup::Stop => {
                self.stop();
                return Ok(Flow::Stop);
            }
        }
        // Any event may have made a search for stale access due.
        self.guard.iter_mut().for_each(|it| it.end_new_stale_access(&mut self.reporter));
        Ok(Flow::Continue)
    }

    /// Handles the end of a period: tests the guard, and reports counted attempts.
    fn test(&mut self) {
        self.reporter.check_uses();
        self.reporter.report_folded();
        self.guard.iter_mut().for_each(|it| it.test(&mut self.reporter));
        self.tested.beat();
        if self.pulse.all_beat() {
            notify(&[NotifyState::Watchdog]);
        }
    }

    /// Handles the test of the guard by a second process, once a minute.
    fn second_test(&mut self, report: SecondReport) {
        second::event(report).into_iter().for_each(|it| self.reporter.report(it));
        self.guard.iter_mut().for_each(WatchedGuard::update_baselines);
    }

    /// Reports everything that is not reported yet. A lease ends with the service, because only the
    /// service judges the node again after it. The guard stays in force.
    fn stop(&mut self) {
        notify(&[NotifyState::Stopping]);
        self.guard.iter_mut().for_each(|it| it.end_lease(&mut self.reporter));
        self.reporter.report_folded();
        self.reporter.report(messages::stopped(self.guard.is_some()));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io;
    use std::rc::Rc;

    use super::super::attribution::WriteLog;
    use super::super::error::SweepError;
    use super::super::made_up;
    use super::*;
    use crate::alert::{Event, EventKind};
    use watchdog_core::verify::StoreError;
    use watchdog_guard::{Coverage, Policy};

    /// A service without a guard, the heart of its sweeps, and the events that it reports.
    fn service() -> (Service, Heart, Rc<RefCell<Vec<Event>>>) {
        let (sweeps, events) = (Heart::default(), Rc::new(RefCell::new(Vec::new())));
        let queue = Rc::clone(&events);
        let send = move |event| queue.borrow_mut().push(event);
        let reporter = Reporter::new(WriteLog::default(), None, send);
        (Service::new(None, reporter, sweeps.clone()), sweeps, events)
    }

    /// Check that a stop first reports the attempts that were only counted so far, and then that
    /// the watchdog stopped.
    #[test]
    fn stop() {
        let (mut service, _, events) = service();
        for _ in 0..100 {
            let wakeup = Wakeup::GuardEvent(made_up::attempt(Policy::Deny));
            assert_eq!(service.handle(wakeup).expect("handled"), Flow::Continue);
        }
        let one_by_one = events.borrow().len();
        assert!(one_by_one < 100);
        assert_eq!(service.handle(Wakeup::Stop).expect("handled"), Flow::Stop);
        let last = events.borrow_mut().split_off(one_by_one);
        let [counted, stopped] = &*last else { panic!("{last:?}") };
        assert_eq!(counted.count, Some(100 - one_by_one as u64));
        assert_eq!(stopped.kind, EventKind::Stopped);
        assert!(stopped.message.contains("There is no guard"), "{}", stopped.message);
    }

    /// Check that the watch ends with the sweeper, by the sweeper's error or as a bug, and that
    /// another try may succeed.
    #[test]
    fn failed_sweeper() {
        let (mut service, ..) = service();
        let error = StoreError::Io {
            act: "read",
            path: "/var/lib/watchdog/baselines".into(),
            error: io::ErrorKind::NotADirectory.into(),
        };
        let failed = service.handle(Wakeup::SweeperFailed(Some(SweepError::Store(error))));
        let error = failed.expect_err("no sweeper");
        assert!(matches!(error, WatchError::Broken(SweepError::Store(_))), "{error:?}");
        assert!(error.had_begun());
        let died = service.handle(Wakeup::SweeperFailed(None)).expect_err("no sweeper");
        assert!(matches!(died, WatchError::SweeperDied) && died.had_begun(), "{died:?}");
    }

    /// Check that these have no effect: SIGHUP, a lease request without a guard, and a second test
    /// that found nothing.
    #[test]
    fn nothing_to_do() {
        let (mut service, _, events) = service();
        let nothing_found = Wakeup::SecondTest(Ok(Coverage::of([])));
        for wakeup in [Wakeup::HangUp, Wakeup::LeaseDue, nothing_found] {
            assert_eq!(service.handle(wakeup).expect("handled"), Flow::Continue);
        }
        assert!(events.borrow().is_empty(), "{events:?}");
    }

    /// Check that a self-test is a sign of life only together with a sweep, and that it reports the
    /// attempts counted in its period.
    #[test]
    fn self_test() {
        let (mut service, sweeps, events) = service();
        (0..100).for_each(|_| service.reporter.guard_event(made_up::attempt(Policy::Deny)));
        let one_by_one = events.borrow().len();
        assert_eq!(service.handle(Wakeup::SelfTestDue).expect("handled"), Flow::Continue);
        assert_eq!(events.borrow().len(), one_by_one + 1);
        sweeps.beat();
        assert!(service.pulse.all_beat());
        // The service itself sends this sign of life, so none is left.
        sweeps.beat();
        assert!(!service.pulse.all_beat());
        assert_eq!(service.handle(Wakeup::SelfTestDue).expect("handled"), Flow::Continue);
        sweeps.beat();
        assert!(!service.pulse.all_beat());
    }

    /// Check that a second process which cannot test the guard is reported.
    #[test]
    fn second_test() {
        let (mut service, _, events) = service();
        let wakeup = Wakeup::SecondTest(Err("it was killed".to_owned()));
        assert_eq!(service.handle(wakeup).expect("handled"), Flow::Continue);
        let events = events.borrow();
        assert!(matches!(&**events, [it] if it.kind == EventKind::GuardTampered), "{events:?}");
    }

    /// Check that an event of the guard is in the write log when it is reported, so that no change
    /// is attributed without it.
    #[test]
    fn recorded_before_it_is_reported() {
        let write_log = WriteLog::default();
        let (log, reported) = (write_log.clone(), Rc::new(RefCell::new(0)));
        let count = Rc::clone(&reported);
        let reporter = Reporter::new(write_log, None, move |event: Event| {
            assert_eq!(event.kind, EventKind::WriteObserved);
            assert!(made_up::is_recorded(&log));
            *count.borrow_mut() += 1;
        });
        let mut service = Service::new(None, reporter, Heart::default());
        let wakeup = Wakeup::GuardEvent(made_up::attempt(Policy::Observe));
        assert_eq!(service.handle(wakeup).expect("handled"), Flow::Continue);
        assert_eq!(*reported.borrow(), 1);
    }
}
