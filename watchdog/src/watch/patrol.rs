//! The thread that searches all memory repeatedly, with a tenth of one core. It finds kernels that
//! appear after the nodes were located.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::node::{Images, Nodes, Survey};
use watchdog_core::locate::Stop;
use watchdog_core::memory::Memory;

/// The ratio of rest to processor time used.
const REST: u32 = 9;
/// The pause before each round.
const PAUSE: Duration = Duration::from_secs(5);

/// A running patrol. It ends with the program, or at the end of a round after this is dropped.
pub(super) struct Patrol(Receiver<Round>);

/// The start of a round, and its findings.
pub(super) type Round = (Instant, Vec<Survey>);

impl Patrol {
    /// Starts the thread, which searches the memory of all nodes.
    pub(super) fn start(plan: Nodes, images: Images, memory: Arc<dyn Memory>) -> Self {
        let (send, receive) = mpsc::sync_channel(1);
        thread::spawn(move || {
            loop {
                thread::sleep(PAUSE);
                let begun = Instant::now();
                let mut rested_at = processor_time();
                let surveyed =
                    plan.survey(&*memory, &images, true, &Stop::default(), &mut |_, _| {
                        thread::sleep(processor_time().saturating_sub(rested_at) * REST);
                        rested_at = processor_time();
                    });
                let sent = match surveyed {
                    Ok(surveys) => send.send((begun, surveys)).is_ok(),
                    Err(error) => {
                        log::warn!("memory could not be searched: {error}");
                        true
                    }
                };
                if !sent {
                    return;
                }
            }
        });
        Self(receive)
    }

    /// The result of a round that ended since the last call, if one did.
    pub(super) fn last_round(&self) -> Option<Round> {
        self.0.try_recv().ok()
    }
}

/// The processor time of this thread. Wall-clock time would include the time of other threads, so
/// the patrol would rest longer on a busy machine.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}
