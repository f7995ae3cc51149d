//! The thread that sweeps. It runs beside the guard's task, so neither can delay the other.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::WatchedNodes;
use super::attempts::Owners;
use super::error::SweepError;
use super::patrol::Patrol;
use super::pulse::Heart;
use crate::alert::Outlet;
use watchdog_core::memory::Memory;

/// A running sweeper. It stops when this is dropped.
pub(super) struct Sweeper {
    _stop: mpsc::Sender<()>,
    ended: oneshot::Receiver<SweepError>,
}

impl Sweeper {
    /// Starts to sweep `nodes` every `period`.
    pub(super) fn start(
        mut nodes: WatchedNodes,
        patrol: Patrol,
        memory: Arc<dyn Memory>,
        period: Duration,
        outlet: Outlet,
        owners: Owners,
        heart: Heart,
    ) -> Self {
        let (stop, stopped) = mpsc::channel();
        let (failed, ended) = oneshot::channel();
        thread::spawn(move || {
            loop {
                let begun = Instant::now();
                let mut report = |event| outlet.send(event);
                let swept = nodes.sweep(&*memory, &mut report).and_then(|()| {
                    // A round that ends during a lease is dropped: a half-written kernel is neither
                    // left behind nor planted.
                    let round = patrol.last_round().filter(|_| !nodes.leased.is_any());
                    let Some((begun, surveys)) = round else { return Ok(()) };
                    surveys
                        .into_iter()
                        .try_for_each(|survey| nodes.consider(begun, survey, &*memory, &mut report))
                });
                if let Err(error) = swept {
                    let _ = failed.send(error);
                    return;
                }
                owners.set(nodes.owners());
                heart.beat();
                let rest = period.saturating_sub(begun.elapsed());
                if stopped.recv_timeout(rest) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        });
        Self { _stop: stop, ended }
    }

    /// Waits for the sweeper to fail; `None` if its thread panicked.
    pub(super) async fn failure(&mut self) -> Option<SweepError> {
        (&mut self.ended).await.ok()
    }
}
