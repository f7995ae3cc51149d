//! The outlet for events. A separate thread delivers them, so a stopped journald does not stop the
//! watch.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::unbounded_channel;

use super::console::{JsonLines, Terminal};
use super::delivery::{self, Counters};
use super::journal::{ConfirmReader, Reader};
use super::sink::Sink;
use super::{Event, Journal, Receipts};

/// The number of events that may wait for a slow journal. Further ones are counted as lost.
const QUEUE: usize = 4096;
/// The time between two checks whether every destination has confirmed all events.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long the program's end waits for events that are still queued.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// The sending side, shared by every task of the watchdog.
#[derive(Clone)]
pub struct Outlet(Arc<Inner>);

struct Inner {
    queue: Mutex<Option<SyncSender<Event>>>,
    counters: Arc<Counters>,
    reader: Option<Reader>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Outlet {
    /// An outlet to the journal, if there is one, and to standard output as JSON, if `json`.
    /// Standard error gets the events too if it is a terminal, or if there is no other destination.
    #[must_use]
    pub fn for_this_process(json: bool) -> (Self, Receipts) {
        use std::io::IsTerminal;
        let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
        let journal = Journal::connect();
        if json {
            sinks.push(Box::new(JsonLines));
        }
        if std::io::stderr().is_terminal() || (journal.is_none() && !json) {
            sinks.push(Box::new(Terminal));
        }
        let reader = journal.as_ref().map(Journal::reader);
        if let Some(journal) = journal {
            sinks.push(Box::new(journal));
        }
        Self::start(sinks, reader)
    }

    /// An outlet to exactly these destinations.
    #[must_use]
    pub fn new(sinks: Vec<Box<dyn Sink>>) -> (Self, Receipts) {
        Self::start(sinks, None)
    }

    fn start(sinks: Vec<Box<dyn Sink>>, reader: Option<Reader>) -> (Self, Receipts) {
        let (queue, events) = mpsc::sync_channel::<Event>(QUEUE);
        let (sender, receipts) = unbounded_channel();
        let counters = Arc::new(Counters::default());
        let shared = Arc::clone(&counters);
        let thread = thread::spawn(move || delivery::run(&events, sinks, &shared, sender));
        let (queue, thread) = (Mutex::new(Some(queue)), Mutex::new(Some(thread)));
        (Self(Arc::new(Inner { queue, counters, reader, thread })), receipts)
    }

    /// From now on, an event that a process other than journald read is sent to the journal again.
    pub fn confirm_by(&self, reader: impl ConfirmReader + 'static) {
        if let Some(known) = &self.0.reader {
            *known.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(reader));
        }
    }

    /// Queues an event. Never waits.
    pub fn send(&self, event: Event) {
        let queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = queue.as_ref() else { return };
        let counter = match queue.try_send(event) {
            Ok(()) => &self.0.counters.queued,
            Err(TrySendError::Full(_)) => &self.0.counters.lost,
            Err(TrySendError::Disconnected(_)) => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until every destination has confirmed all events that were queued before the call.
    /// Returns false if that takes longer than `within`.
    #[must_use]
    pub fn is_delivered(&self, within: Duration) -> bool {
        let counters = &self.0.counters;
        let (begun, queued) = (Instant::now(), counters.queued.load(Ordering::Relaxed));
        while counters.delivered.load(Ordering::Relaxed) < queued {
            if begun.elapsed() > within {
                return false;
            }
            thread::sleep(POLL_INTERVAL);
        }
        true
    }

    /// Waits a limited time until the thread behind the outlet has delivered the queued events and
    /// ended. Once the thread has ended, all receipts have arrived.
    pub fn close(&self) {
        drop(self.0.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        let (done, waiting) = mpsc::channel();
        thread::spawn(move || {
            let _ = thread.join();
            let _ = done.send(());
        });
        let _ = waiting.recv_timeout(LAST_WORDS);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use super::*;
    use crate::alert::{EventKind, Receipt};

    struct Slow(mpsc::Receiver<()>, mpsc::Sender<String>);

    impl Sink for Slow {
        fn name(&self) -> &'static str {
            "a slow sink"
        }
        fn send(&mut self, event: &Event) -> anyhow::Result<()> {
            let _ = self.0.recv();
            self.1.send(event.message.clone())?;
            Ok(())
        }
    }

    /// Check that the watch continues if the reader of a pipe has gone. Events then go to the other
    /// destinations, or to standard error if there is no other.
    #[test]
    fn a_closed_pipe_does_not_stop_the_watch() {
        struct Pipe(io::PipeWriter);
        impl Sink for Pipe {
            fn name(&self) -> &'static str {
                "a pipe"
            }
            fn send(&mut self, event: &Event) -> anyhow::Result<()> {
                Ok(writeln!(self.0, "{}", event.message)?)
            }
        }
        let (reader, writer) = io::pipe().unwrap();
        let (sender, heard) = mpsc::channel();
        let other = Slow(mpsc::channel().1, sender);
        let (outlet, _) = Outlet::new(vec![Box::new(Pipe(writer)), Box::new(other)]);
        drop(reader);
        outlet.send(Event::new(EventKind::Started, "x\ny"));
        let messages = [heard.recv().unwrap(), heard.recv().unwrap()];
        assert_eq!(messages[0], "x\\ny");
        assert!(messages[1].contains("No more events go to a pipe"), "{messages:?}");
        outlet.close();
    }

    /// Check that an event counts as delivered once every destination has confirmed it, and not
    /// before.
    #[test]
    fn heard_when_taken() {
        let (release, gate) = mpsc::channel();
        let (taken, _events) = mpsc::channel();
        let (outlet, _) = Outlet::new(vec![Box::new(Slow(gate, taken))]);
        assert!(outlet.is_delivered(Duration::ZERO));
        outlet.send(Event::new(EventKind::Started, "x"));
        assert!(!outlet.is_delivered(Duration::from_millis(50)));
        release.send(()).unwrap();
        assert!(outlet.is_delivered(Duration::from_secs(20)));
        outlet.close();
    }

    /// Check that the receipt of an event arrives once the destination has confirmed the event, and
    /// not before. Check that closing the outlet ends the receipts.
    #[test]
    fn receipt_after_confirmation() {
        let (release, gate) = mpsc::channel();
        let (taken, _events) = mpsc::channel();
        let (outlet, mut receipts) = Outlet::new(vec![Box::new(Slow(gate, taken))]);
        let receipt = Receipt { path: 3, attempts: 7 };
        outlet.send(Event { receipt: Some(receipt), ..Event::new(EventKind::Started, "x") });
        outlet.send(Event::new(EventKind::Started, "without a receipt"));
        assert!(!outlet.is_delivered(Duration::from_millis(50)) && receipts.try_recv().is_err());
        release.send(()).unwrap();
        assert_eq!(receipts.blocking_recv(), Some(receipt));
        drop(release);
        outlet.close();
        assert_eq!(receipts.blocking_recv(), None);
    }

    /// Check that a sink that does not answer never blocks the sender, and that dropped events are
    /// counted and reported.
    #[test]
    fn a_stopped_journal_does_not_stop_the_watch() {
        let (release, gate) = mpsc::channel();
        let (sender, heard) = mpsc::channel();
        let (outlet, _) = Outlet::new(vec![Box::new(Slow(gate, sender))]);
        let sent = QUEUE + 100;
        for _ in 0..sent {
            outlet.send(Event::new(EventKind::Started, "x"));
        }
        drop(release);
        let mut delivered = 0;
        loop {
            let message = heard.recv_timeout(Duration::from_secs(20)).unwrap();
            if message == "x" {
                delivered += 1;
                continue;
            }
            let lost: usize = message.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(lost + delivered, sent, "{message}");
            break;
        }
        outlet.close();
    }
}
