//! SIGTERM and SIGINT during the start. The start is one task after another, none of which waits
//! for a signal. A thread of its own hears the signals.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::alert::{Event, Outlet};
use watchdog_core::locate::Stop;

/// How long the start may go on after a signal. A search or the load of the guard ends sooner. A
/// system call, or the work on a large image, may not.
const GRACE: Duration = Duration::from_millis(1500);
/// How long the last event may take if the start did not end in time.
const LAST_EVENT: Duration = Duration::from_millis(200);

/// Hears the signals while the watch starts.
pub(super) struct Stopping {
    stop: Stop,
    phase: Arc<Mutex<Phase>>,
    over: Option<oneshot::Sender<()>>,
}

/// How far the start is, for the thread that may end the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    /// A signal arrived, and its event is sent.
    Reported,
    /// The start is over: the service handles signals.
    Over,
}

impl Stopping {
    /// Starts to listen. If a signal arrives and the start does not end in time, the process ends.
    /// `last` is then the last event.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn listen(outlet: &Outlet, last: fn() -> Event) -> io::Result<Self> {
        let outlet = outlet.clone();
        Self::listen_with(GRACE, move |phase| {
            if phase == Phase::Starting {
                outlet.send(last());
                let _ = outlet.is_delivered(LAST_EVENT);
            }
            // Guards that this start did not put in force end with the process, or are removed by
            // the next start.
            std::process::exit(0);
        })
    }

    fn listen_with(grace: Duration, end: impl FnOnce(Phase) + Send + 'static) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut terminate, mut interrupt) = {
            let _inside = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        let (stop, phase) = (Stop::default(), Arc::new(Mutex::new(Phase::Starting)));
        let (over, mut is_over) = oneshot::channel();
        let (asked, known) = (stop.clone(), Arc::clone(&phase));
        thread::spawn(move || {
            let signalled = runtime.block_on(async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                    Ok(()) = &mut is_over => return false,
                }
                // The start may end while a signal arrives. A signal that comes after it is the
                // service's, also before this thread hears that the start is over.
                if !ask_in_time(&known, &asked) {
                    return false;
                }
                tokio::time::sleep(grace).await;
                true
            });
            if signalled {
                // Held until the process ends: the start cannot end meanwhile.
                let phase = known.lock().unwrap_or_else(PoisonError::into_inner);
                if *phase != Phase::Over {
                    end(*phase);
                }
            }
        });
        Ok(Self { stop, phase, over: Some(over) })
    }

    /// The request to stop, for the tasks of the start.
    pub(super) const fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Ends the start, unless a signal arrived. Later signals are the service's.
    pub(super) fn end_of_start(&mut self) -> bool {
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        if self.stop.is_asked() {
            return false;
        }
        *phase = Phase::Over;
        let _ = self.over.take().map(|over| over.send(()));
        true
    }

    /// Records that the event of the stop is sent. The process still ends in time.
    pub(super) fn is_reported(&self) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = Phase::Reported;
    }
}

/// Asks the start to stop, unless it is over. Returns whether it was asked. The lock orders this
/// and [`Stopping::end_of_start`].
fn ask_in_time(phase: &Mutex<Phase>, stop: &Stop) -> bool {
    let phase = phase.lock().unwrap_or_else(PoisonError::into_inner);
    if *phase == Phase::Over {
        return false;
    }
    stop.ask();
    true
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Instant;

    use super::*;

    fn send(signal: i32) {
        // SAFETY: a handler of tokio answers the signal.
        assert_eq!(unsafe { libc::kill(libc::getpid(), signal) }, 0);
    }

    /// Check that a signal asks the start to stop, that the process ends if the start does not, and
    /// that the start cannot end as if there was no signal. Check that a signal after the start has
    /// no effect here.
    #[test]
    fn signals() {
        let (sender, ended) = mpsc::channel();
        let listen = |grace| {
            let sender = sender.clone();
            Stopping::listen_with(grace, move |phase| sender.send(phase).unwrap()).unwrap()
        };
        let mut started = listen(Duration::ZERO);
        assert!(started.end_of_start());
        assert!(!ask_in_time(&started.phase, started.stop()), "a signal after the start");
        let (mut late, mut slow) = (listen(Duration::from_secs(3600)), listen(Duration::ZERO));
        slow.is_reported();
        send(libc::SIGTERM);
        assert_eq!(ended.recv_timeout(Duration::from_secs(60)), Ok(Phase::Reported));
        let begun = Instant::now();
        while !late.stop().is_asked() && begun.elapsed() < Duration::from_secs(60) {
            thread::sleep(Duration::from_millis(5));
        }
        assert!(!late.end_of_start() && !slow.end_of_start());
        assert!(ended.try_recv().is_err(), "neither of the others ended the process");
        assert!(!started.stop().is_asked());
    }
}
