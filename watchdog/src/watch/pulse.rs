//! Signs of life for systemd. The watchdog sends them only while each of its parts works.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use libsystemd::daemon::{self, NotifyState};

/// The shortest time for which systemd waits for a sign of life. On a busy machine, a sweep that
/// searches all of a node's memory takes long. A restart would lose what this watchdog knows.
const SIGN_OF_LIFE_TIMEOUT: Duration = Duration::from_secs(60);
/// The shortest time for which systemd waits for the next step of a start, even if
/// `TimeoutStartSec=` is shorter. The slowest step, loading the guard's programs, took 54 s on an
/// emulated machine that shared its processors.
const STEP_TIMEOUT: Duration = Duration::from_secs(300);
/// How often a step that reports progress requests more time.
const STEP_PROGRESS: Duration = Duration::from_secs(10);
/// How often `systemctl status` shows new progress.
const STATUS_PROGRESS: Duration = Duration::from_secs(2);

/// The start of the watch, as systemd sees it: systemd waits for a step that makes progress.
#[derive(Debug)]
pub(super) struct Startup {
    step: String,
    extended: Instant,
    shown: Instant,
}

impl Startup {
    /// Begins the first step. `systemctl status` shows `step`.
    pub(super) fn begin(step: &str) -> Self {
        let now = Instant::now();
        let mut startup = Self { step: String::new(), extended: now, shown: now };
        startup.step(step);
        startup
    }

    /// Begins the next step.
    pub(super) fn step(&mut self, step: &str) {
        step.clone_into(&mut self.step);
        notify(&[NotifyState::Status(step.to_owned())]);
        self.extend();
    }

    /// Records progress of the step: `done` of `total` bytes.
    pub(super) fn progress(&mut self, done: u64, total: u64) {
        if self.shown.elapsed() >= STATUS_PROGRESS {
            notify(&[NotifyState::Status(status(&self.step, done, total))]);
            self.shown = Instant::now();
        }
        if self.extended.elapsed() >= STEP_PROGRESS {
            self.extend();
        }
    }

    /// Ends the start. From now on, a sign of life follows every self-test that comes after a
    /// sweep. The timeout is therefore at least several `period`s.
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

/// The text of a step with its progress.
fn status(step: &str, done: u64, total: u64) -> String {
    let percent = u128::from(done) * 100 / u128::from(total.max(1));
    format!("{step}: {percent} % of {} MiB", total >> 20)
}

/// The heart of one part of the watchdog. It beats each time the part has done its work.
#[derive(Clone, Debug, Default)]
pub(super) struct Heart(Arc<AtomicU64>);

impl Heart {
    /// Beats once.
    pub(super) fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// All hearts, and how often each had beaten at the last check.
#[derive(Debug)]
pub(super) struct Pulse(Vec<(Heart, u64)>);

impl Pulse {
    pub(super) fn new(hearts: impl IntoIterator<Item = Heart>) -> Self {
        Self(hearts.into_iter().map(|heart| (heart, 0)).collect())
    }

    /// Whether every heart has beaten since this last returned `true`.
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

/// Sends a notification to systemd, if systemd expects one (`Type=notify`).
pub(super) fn notify(state: &[NotifyState]) {
    if let Err(error) = daemon::notify(false, state) {
        log::debug!("systemd was not notified of {state:?}: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check the text of progress, also of a search without memory.
    #[test]
    fn progress() {
        let all = u64::MAX;
        let text = format!("searching: 49 % of {} MiB", all >> 20);
        assert_eq!(status("searching", all / 2, all), text);
        assert_eq!(status("searching", 0, 0), "searching: 0 % of 0 MiB");
    }

    /// Check that one stopped part stops the sign of life, and that every part must beat again for
    /// each sign.
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
