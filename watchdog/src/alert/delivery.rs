//! The thread that sends events to every destination.

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use super::console::Terminal;
use super::destination::{Destination, Outgoing, State};
use super::digest::Digests;
use super::sink::Sink;
use super::{Event, EventKind, Receipt};
use watchdog_core::text::visible_line;

/// The time between two attempts to send an event that a destination refused.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How long the thread retries refused events after the queue is closed. The next watchdog reports
/// the attempts without a receipt.
const LAST_TRIES: Duration = Duration::from_secs(2);

/// Counts of events.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Events that were queued.
    pub(super) queued: AtomicU64,
    /// How many of them every destination has confirmed.
    pub(super) delivered: AtomicU64,
    /// Events that did not fit the queue and were not reported as a count yet.
    pub(super) lost: AtomicU64,
}

/// Sends the queued events to every destination until the queue is closed. Then retries the refused
/// events for a limited time.
pub(super) fn run(
    events: &Receiver<Event>,
    sinks: Vec<Box<dyn Sink>>,
    counters: &Counters,
    receipts: UnboundedSender<Receipt>,
) {
    let mut digests = Digests::default();
    let mut destinations = Destinations::new(sinks, receipts);
    let mut taken = 0;
    loop {
        // A loss is reported as soon as the queue has drained, even if nothing new happens.
        let state = match events.recv_timeout(RETRY_INTERVAL) {
            Ok(mut event) => {
                if let Some((process, file)) = event.process.as_mut().zip(event.executable.take()) {
                    process.exe_sha256 = digests.digest_of(&file);
                }
                taken += 1;
                destinations.send(event)
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => match counters.lost.swap(0, Ordering::Relaxed) {
                0 => destinations.deliver(),
                lost => destinations.send(overflow(lost)),
            },
        };
        if state == State::Done {
            counters.delivered.store(taken, Ordering::Relaxed);
        }
    }
    let begun = Instant::now();
    while destinations.deliver() == State::Waiting && begun.elapsed() < LAST_TRIES {
        thread::sleep(LAST_TRIES / 20);
    }
    destinations.all.iter().for_each(Destination::give_up);
}

/// All destinations.
struct Destinations {
    all: Vec<Destination>,
    receipts: UnboundedSender<Receipt>,
}

impl Destinations {
    fn new(sinks: Vec<Box<dyn Sink>>, receipts: UnboundedSender<Receipt>) -> Self {
        Self { all: sinks.into_iter().map(Destination::new).collect(), receipts }
    }

    /// Sends an event to all destinations.
    fn send(&mut self, mut event: Event) -> State {
        // A path or a node's name may contain any character, but an event must be one line.
        event.message = visible_line(&event.message).into_owned();
        let outgoing = Outgoing::new(event);
        self.all.iter_mut().for_each(|it| it.push(Rc::clone(&outgoing)));
        self.deliver()
    }

    /// Sends the events that wait. A destination whose reader has gone is removed. Standard error
    /// replaces the last one.
    fn deliver(&mut self) -> State {
        let (mut state, mut closed) = (State::Done, Vec::new());
        self.all.retain_mut(|destination| match destination.deliver(&self.receipts) {
            State::Closed => {
                closed.push(destination.name());
                false
            }
            State::Waiting => {
                state = State::Waiting;
                true
            }
            State::Done => true,
        });
        for name in closed {
            if self.all.is_empty() && name != Terminal.name() {
                self.all.push(Destination::new(Box::new(Terminal)));
            }
            state = self.send(reader_gone(name));
        }
        state
    }
}

/// The event for a destination that its reader closed.
fn reader_gone(name: &str) -> Event {
    Event::new(
        EventKind::GuardDegraded,
        format!(
            "No more events go to {name}, because its reader has gone. The guard and the sweeps \
             continue. To send events to {name} again, restart the watchdog"
        ),
    )
}

/// The event that represents events that were not reported.
fn overflow(lost: u64) -> Event {
    Event::new(
        EventKind::GuardDegraded,
        format!(
            "{lost} events were lost: the journal, or another destination of events, accepted \
             events too slowly. The guard and the sweeps were not affected"
        ),
    )
}
