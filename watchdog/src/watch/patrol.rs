//! The thread that searches all memory again and again, at a tenth of one core: what was not there
//! when the nodes were located is seen all the same.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::node::{Images, Nodes, Survey};
use watchdog_core::memory::Memory;

/// Time at rest for each time that the processor is had.
const REST: u32 = 9;
/// From the end of one round to the beginning of the next.
const PAUSE: Duration = Duration::from_secs(5);

/// A running patrol. It ends with the program, or at the end of its round when this is dropped.
pub(super) struct Patrol(Receiver<Round>);

/// When a round began, and what it found.
pub(super) type Round = (Instant, Vec<Survey>);

impl Patrol {
    /// Starts to go round the memory of all nodes.
    pub(super) fn start(plan: Nodes, images: Images, memory: Arc<dyn Memory>) -> Self {
        let (send, receive) = mpsc::sync_channel(1);
        thread::spawn(move || {
            loop {
                thread::sleep(PAUSE);
                let begun = Instant::now();
                let mut rested_at = processor_time();
                let surveyed = plan.survey(&*memory, &images, true, &mut |_, _| {
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

    /// What the last round found, if one ended since this was last asked.
    pub(super) fn last_round(&self) -> Option<Round> {
        self.0.try_recv().ok()
    }
}

/// What this thread has had of the processor. The clock on the wall would count the time in which
/// others had it, and a busy machine is no reason to rest longer.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}
