//! The wakeups of the service: everything that it waits for.

use std::future;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::error::SweepError;
use super::receipts::ReportedAttempts;
use super::second::{Second, SecondReport};
use super::sweeper::Sweeper;
use super::watched_guard::WatchedGuard;
use watchdog_guard::GuardEvent;

/// A wakeup that the service handles.
#[derive(Debug)]
pub(super) enum Wakeup {
    /// The guard reports an event.
    GuardEvent(GuardEvent),
    /// A period is over: the guard's self-test is due.
    SelfTestDue,
    /// A second process tested the guard.
    SecondTest(SecondReport),
    /// A lease was requested, or is over.
    LeaseDue,
    /// The sweeper ended with this error; `None` if its thread panicked.
    SweeperFailed(Option<SweepError>),
    /// SIGHUP arrived.
    HangUp,
    /// SIGTERM or SIGINT arrived.
    Stop,
}

/// Everything that wakes the service, except the guard itself.
pub(super) struct Wakeups<'a> {
    reported: &'a mut ReportedAttempts,
    signals: Signals,
    self_tests: Interval,
    second: Option<Second>,
    sweeper: Sweeper,
}

impl<'a> Wakeups<'a> {
    /// A self-test is due at once, and then every `period`.
    pub(super) fn new(
        reported: &'a mut ReportedAttempts,
        signals: Signals,
        period: Duration,
        second: Option<Second>,
        sweeper: Sweeper,
    ) -> Self {
        let mut self_tests = interval(period);
        self_tests.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { reported, signals, self_tests, second, sweeper }
    }

    /// Waits for the next wakeup, from `guard` or another source. Receipts that arrive before it
    /// are counted, and cause no wakeup.
    pub(super) async fn next(&mut self, mut guard: Option<&mut WatchedGuard>) -> Wakeup {
        loop {
            tokio::select! {
                () = self.reported.count_next() => {}
                wakeup = wait_for_guard(guard.as_deref_mut()) => return wakeup,
                _ = self.self_tests.tick() => return Wakeup::SelfTestDue,
                report = wait_for_second(self.second.as_mut()) => {
                    return Wakeup::SecondTest(report);
                }
                failure = self.sweeper.failure() => return Wakeup::SweeperFailed(failure),
                wakeup = self.signals.next() => return wakeup,
            }
        }
    }
}

/// Waits for the guard or its lease; forever without a guard.
async fn wait_for_guard(guard: Option<&mut WatchedGuard>) -> Wakeup {
    let Some(WatchedGuard { guard, leases, .. }) = guard else { return future::pending().await };
    tokio::select! {
        event = guard.next_event() => Wakeup::GuardEvent(event),
        () = leases.over() => Wakeup::LeaseDue,
    }
}

/// Waits for the next test by a second process; forever if there is no such test.
async fn wait_for_second(second: Option<&mut Second>) -> SecondReport {
    match second {
        Some(second) => second.next().await,
        None => future::pending().await,
    }
}

/// The signals that `run` answers.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// SIGUSR1: `watchdog guard lease` requested or ended a lease.
    lease: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Installs the handlers. A signal that arrives before [`Self::next`] is kept until then.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            lease: signal(SignalKind::user_defined1())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Wakeup {
        tokio::select! {
            _ = self.terminate.recv() => Wakeup::Stop,
            _ = self.interrupt.recv() => Wakeup::Stop,
            _ = self.lease.recv() => Wakeup::LeaseDue,
            _ = self.hang_up.recv() => Wakeup::HangUp,
        }
    }
}
