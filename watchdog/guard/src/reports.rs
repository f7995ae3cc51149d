//! Reports of the programs: attempts, the number of lost attempts, and log messages.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;

use aya::Ebpf;
use aya::maps::{Array, MapData, RingBuf};
use aya_log::EbpfLogger;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use watchdog_common::path;

use super::WritePath;
use super::attempt::WriteAttempt;
use super::error::GuardError;
use super::event::GuardEvent;
use super::recursion_misses::RecursionMisses;

/// Reads the reports of the programs.
pub(super) struct Reports {
    attempts: AsyncFd<RingBuf<MapData>>,
    /// How many attempts by each path did not fit into the ring buffer.
    lost: Array<MapData, u64>,
    lost_reported: [u64; path::COUNT as usize],
    recursion_misses: RecursionMisses,
    log: EbpfLog,
    /// The kernel's lockdown reasons, by number.
    reasons: BTreeMap<u32, String>,
}

impl Reports {
    /// Takes the tables that it reads from the programs.
    ///
    /// # Errors
    /// [`GuardError`] if a table is missing, or the event loop does not accept the ring buffer.
    pub(super) fn of(
        programs: &mut Ebpf,
        log: EbpfLog,
        reasons: BTreeMap<u32, String>,
    ) -> Result<Self, GuardError> {
        let mut map = |name| programs.take_map(name).ok_or(GuardError::Missing(name));
        Ok(Self {
            attempts: listen(RingBuf::try_from(map("ATTEMPTS")?)?)?,
            lost: Array::try_from(map("LOST")?)?,
            lost_reported: [0; path::COUNT as usize],
            recursion_misses: RecursionMisses::of(programs),
            log,
            reasons,
        })
    }

    /// Waits for the next attempt. Cancel safe.
    pub(super) async fn next(&mut self) -> GuardEvent {
        loop {
            let record = self.attempts.get_mut().next();
            let attempt = record.and_then(|it| WriteAttempt::of_record(&it, &self.reasons));
            let event = attempt.map(GuardEvent::Attempt).or_else(|| self.newly_lost());
            if let Some(event) = event {
                return event;
            }
            tokio::select! {
                ready = self.attempts.readable_mut() => {
                    // Cleared before the buffer is read again: later records make it ready again.
                    if let Ok(mut ready) = ready {
                        ready.clear_ready();
                    }
                }
                () = self.log.relay() => {}
            }
        }
    }

    /// Calls that no program judged since the last report. Each path is reported at most as often
    /// as [`RecursionMisses`] allows.
    pub(super) fn recursion_misses(&mut self) -> Vec<GuardEvent> {
        let misses = self.recursion_misses.new_ones().into_iter();
        misses.map(|(path, count)| GuardEvent::RecursionMisses { path, count }).collect()
    }

    /// Attempts by one path that were lost since the last report.
    fn newly_lost(&mut self) -> Option<GuardEvent> {
        WritePath::ALL.into_iter().find_map(|path| {
            let reported = self.lost_reported.get_mut(path.number() as usize)?;
            let lost = self.lost.get(&path.number(), 0).ok()?;
            let count = lost.checked_sub(*reported).filter(|new| *new > 0)?;
            *reported = lost;
            Some(GuardEvent::Lost { path, count })
        })
    }
}

/// The log messages of the programs, if they can be read.
pub(super) struct EbpfLog(Option<AsyncFd<EbpfLogger<&'static dyn log::Log>>>);

impl EbpfLog {
    /// Starts to collect them.
    pub(super) fn init(programs: &mut Ebpf) -> Self {
        let logger = EbpfLogger::init(programs)
            .inspect_err(|error| log::debug!("eBPF's own messages are not shown: {error}"));
        Self(logger.ok().and_then(|logger| listen(logger).ok()))
    }

    /// Waits for log messages, and passes them on to the log. Cancel safe.
    async fn relay(&mut self) {
        let Self(Some(log)) = self else { return std::future::pending().await };
        if let Ok(mut ready) = log.readable_mut().await {
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    }
}

/// Registers a ring buffer with the event loop.
fn listen<T: AsRawFd>(buffer: T) -> Result<AsyncFd<T>, GuardError> {
    // SAFETY: both kinds of ring buffer own their descriptor and keep it open and unchanged while
    // they live. No code takes them out of the `AsyncFd`.
    unsafe { AsyncFd::register_with_interest(buffer, Interest::READABLE) }
        .map_err(|refused| GuardError::Listen(refused.into()))
}
