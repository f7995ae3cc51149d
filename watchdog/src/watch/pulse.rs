//! Signs of life for systemd: sent only while every part of the watchdog goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use libsystemd::daemon::{self, NotifyState};

/// How long systemd waits for a sign of life at least. On a busy machine, a sweep may have to
/// search all of a node's memory, and a restarted watchdog knows less than this one.
const SIGN_OF_LIFE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long systemd waits for the next step of a start at least, however short `TimeoutStartSec=`
/// is. The slowest step, loading the guard's programs, took 54 s on an emulated machine that shared
/// its processors.
const STEP_TIMEOUT: Duration = Duration::from_secs(300);
/// How often a step that shows its progress asks for more time.
const STEP_PROGRESS: Duration = Duration::from_secs(10);

/// The start of the watch, as systemd sees it: a step that goes on is waited for.
#[derive(Debug)]
pub(super) struct Startup {
    extended: Instant,
}

impl Startup {
    /// Begins the first step. `step` is shown by `systemctl status`.
    pub(super) fn begin(step: &str) -> Self {
        let mut startup = Self { extended: Instant::now() };
        startup.step(step);
        startup
    }

    /// Begins the next step.
    pub(super) fn step(&mut self, step: &str) {
        notify(&[NotifyState::Status(step.to_owned())]);
        self.extend();
    }

    /// The step goes on.
    pub(super) fn progress(&mut self) {
        if self.extended.elapsed() >= STEP_PROGRESS {
            self.extend();
        }
    }

    /// The start is over: from now on, a sign of life follows every self-test that comes after a
    /// sweep. So systemd waits for several of these `period`s, however long they are.
    pub(super) fn end(self, period: Duration) {
        let timeout = u64::try_from((period * 4).max(SIGN_OF_LIFE_TIMEOUT).as_micros());
        notify(&[
            NotifyState::Ready,
            NotifyState::WatchdogUsec(timeout.unwrap_or(u64::MAX)),
            NotifyState::Status("watching".to_owned()),
        ]);
    }

    fn extend(&mut self) {
        let time = format!("EXTEND_TIMEOUT_USEC={}", STEP_TIMEOUT.as_micros());
        notify(&[NotifyState::Other(time)]);
        self.extended = Instant::now();
    }
}

/// A part's heart: it beats each time the part has done its work.
#[derive(Clone, Debug, Default)]
pub(super) struct Heart(Arc<AtomicU64>);

impl Heart {
    /// Beats once.
    pub(super) fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// All hearts, and how often each had beaten when last looked.
#[derive(Debug)]
pub(super) struct Pulse(Vec<(Heart, u64)>);

impl Pulse {
    pub(super) fn new(hearts: impl IntoIterator<Item = Heart>) -> Self {
        Self(hearts.into_iter().map(|heart| (heart, 0)).collect())
    }

    /// Whether every heart has beaten since this last said so.
    pub(super) fn all_beat(&mut self) -> bool {
        let alive = self.0.iter().all(|(heart, before)| heart.0.load(Ordering::Relaxed) != *before);
        if alive {
            for (heart, before) in &mut self.0 {
                *before = heart.0.load(Ordering::Relaxed);
            }
        }
        alive
    }
}

/// Tells systemd something, where systemd wants to know (`Type=notify`).
pub(super) fn notify(state: &[NotifyState]) {
    if let Err(error) = daemon::notify(false, state) {
        log::debug!("systemd was not notified of {state:?}: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that one stopped part stops the sign of life, and that it must go on each time.
    #[test]
    fn one_stopped_heart_is_no_pulse() {
        let (sweeps, tests) = (Heart::default(), Heart::default());
        let mut pulse = Pulse::new([sweeps.clone(), tests.clone()]);
        sweeps.beat();
        assert!(!pulse.all_beat());
        tests.beat();
        assert!(pulse.all_beat());
        sweeps.beat();
        assert!(!pulse.all_beat());
        tests.beat();
        assert!(pulse.all_beat());
    }
}
