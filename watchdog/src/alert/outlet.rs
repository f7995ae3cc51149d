//! Where events leave: a thread of its own, so that nobody who stops journald stops the watch.

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::console::{JsonLines, Terminal};
use super::digest::Digests;
use super::journal::{ConfirmReader, Reader};
use super::place::{Letter, Place, State};
use super::sink::Sink;
use super::{Event, EventKind, Journal};
use watchdog_core::text::visible_line;
use watchdog_guard::{ReportedCounts, WritePath};

/// Events that may wait for a slow journal before the next ones are counted as lost.
const QUEUE: usize = 4096;
/// From one try to have a place take what it refused to the next.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// From one look whether every place has taken all events to the next.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long the end of the program waits for events that are still queued.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How long it tries to have a place take what it refused; the rest is counted in the guard's
/// tables and reported by the next watchdog.
const LAST_TRIES: Duration = Duration::from_secs(2);

/// The sending side, shared by every task of the watchdog.
#[derive(Clone)]
pub struct Outlet(Arc<Inner>);

struct Inner {
    queue: Mutex<Option<SyncSender<Event>>>,
    /// Events that were queued.
    sent: AtomicU64,
    /// How many of them every place has taken.
    delivered: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
    reported: Reported,
    reader: Option<Reader>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The counts of reported attempts, once the guard is in force.
type Reported = Arc<Mutex<Option<ReportedCounts>>>;

impl Outlet {
    /// Events to the journal where there is one, to standard output as JSON if `json`, and to
    /// standard error if that is a terminal or nobody else would hear.
    #[must_use]
    pub fn for_this_process(json: bool) -> Self {
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

    /// Events to exactly these places.
    #[must_use]
    pub fn new(sinks: Vec<Box<dyn Sink>>) -> Self {
        Self::start(sinks, None)
    }

    fn start(sinks: Vec<Box<dyn Sink>>, reader: Option<Reader>) -> Self {
        let (queue, events) = mpsc::sync_channel::<Event>(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let delivered = Arc::new(AtomicU64::new(0));
        let counters = Counters { lost: Arc::clone(&lost), delivered: Arc::clone(&delivered) };
        let reported = Reported::default();
        let counts = Arc::clone(&reported);
        let thread = thread::spawn(move || run(&events, sinks, &counters, &counts));
        Self(Arc::new(Inner {
            queue: Mutex::new(Some(queue)),
            sent: AtomicU64::new(0),
            delivered,
            lost,
            reported,
            reader,
            thread: Mutex::new(Some(thread)),
        }))
    }

    /// From now on the attempts that are reported are added to `counts`.
    pub fn count_reported(&self, counts: ReportedCounts) {
        *self.0.reported.lock().unwrap_or_else(PoisonError::into_inner) = Some(counts);
    }

    /// From now on, an event that another process than journald has read is sent to the journal
    /// again.
    pub fn confirm_by(&self, reader: impl ConfirmReader + 'static) {
        if let Some(known) = &self.0.reader {
            *known.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(reader));
        }
    }

    /// Queues an event; never waits.
    pub fn send(&self, event: Event) {
        let queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = queue.as_ref() else { return };
        let counter = match queue.try_send(event) {
            Ok(()) => &self.0.sent,
            Err(TrySendError::Full(_)) => &*self.0.lost,
            Err(TrySendError::Disconnected(_)) => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until every place has taken all that was queued until now; whether that was in time.
    #[must_use]
    pub fn is_heard(&self, within: Duration) -> bool {
        let (begun, sent) = (Instant::now(), self.0.sent.load(Ordering::Relaxed));
        while self.0.delivered.load(Ordering::Relaxed) < sent {
            if begun.elapsed() > within {
                return false;
            }
            thread::sleep(POLL_INTERVAL);
        }
        true
    }

    /// Ends the thread behind the outlet once it has delivered what is queued, within a bound.
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

/// What the thread says of its work.
struct Counters {
    lost: Arc<AtomicU64>,
    delivered: Arc<AtomicU64>,
}

/// Takes what is queued to every place until the queue is closed, and then for a while what is
/// left.
fn run(
    events: &Receiver<Event>,
    sinks: Vec<Box<dyn Sink>>,
    counters: &Counters,
    reported: &Reported,
) {
    let (mut digests, mut places) = (Digests::default(), Places::new(sinks, reported));
    let mut taken = 0;
    loop {
        // A loss is reported as soon as the queue has drained, even if nothing new happens.
        let state = match events.recv_timeout(RETRY_INTERVAL) {
            Ok(mut event) => {
                if let Some((process, file)) = event.process.as_mut().zip(event.executable.take()) {
                    process.exe_sha256 = digests.digest_of(&file);
                }
                taken += 1;
                places.send(event)
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => match counters.lost.swap(0, Ordering::Relaxed) {
                0 => places.deliver(),
                lost => places.send(overflow(lost)),
            },
        };
        if state == State::Done {
            counters.delivered.store(taken, Ordering::Relaxed);
        }
    }
    let begun = Instant::now();
    while places.deliver() == State::Waiting && begun.elapsed() < LAST_TRIES {
        thread::sleep(LAST_TRIES / 20);
    }
    places.all.iter().for_each(Place::give_up);
}

/// Every place that events go to.
struct Places<'a> {
    all: Vec<Place>,
    reported: &'a Reported,
}

impl<'a> Places<'a> {
    fn new(sinks: Vec<Box<dyn Sink>>, reported: &'a Reported) -> Self {
        Self { all: sinks.into_iter().map(Place::new).collect(), reported }
    }

    /// Sends an event to all of them.
    fn send(&mut self, mut event: Event) -> State {
        // A path or a node's name may hold anything, and an event is one line.
        event.message = visible_line(&event.message).into_owned();
        let letter = Letter::new(event);
        self.all.iter_mut().for_each(|place| place.push(Rc::clone(&letter)));
        self.deliver()
    }

    /// Sends what waits. A place whose reader has gone is one no more; the last one that goes has
    /// its events go to standard error.
    fn deliver(&mut self) -> State {
        let (mut state, mut closed) = (State::Done, Vec::new());
        self.all.retain_mut(|place| match place.deliver(&mut |event| add(self.reported, event)) {
            State::Closed => {
                closed.push(place.name());
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
                self.all.push(Place::new(Box::new(Terminal)));
            }
            state = self.send(reader_gone(name));
        }
        state
    }
}

/// Adds the attempts that an event reported.
fn add(reported: &Reported, event: &Event) {
    let path = event.path.as_ref().filter(|_| !event.uncounted);
    let Some(path) = path.and_then(|path| path.parse::<WritePath>().ok()) else { return };
    let mut counts = reported.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(counts) = counts.as_mut() else { return };
    if let Err(error) = counts.add(path, event.count.unwrap_or(1)) {
        log::warn!("reported `{path}` attempts could not be counted: {error}");
    }
}

/// The event of a place whose reader has closed it.
fn reader_gone(place: &str) -> Event {
    Event::new(
        EventKind::GuardDegraded,
        format!(
            "No more events go to {place}: its reader closed it. The guard and the sweeps \
             continue. Restart the watchdog to write there again"
        ),
    )
}

/// The event that stands for events that were not reported.
fn overflow(lost: u64) -> Event {
    Event::new(
        EventKind::GuardDegraded,
        format!(
            "{lost} events were not reported: the journal accepted them too slowly. The guard \
             and the sweeps were not affected"
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use super::*;

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

    /// Check that a pipe whose reader has gone ends no watch: events go on to the others, and to
    /// standard error where there is no other.
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
        let outlet = Outlet::new(vec![Box::new(Pipe(writer)), Box::new(other)]);
        drop(reader);
        outlet.send(Event::new(EventKind::Started, "x\ny"));
        let messages = [heard.recv().unwrap(), heard.recv().unwrap()];
        assert_eq!(messages[0], "x\\ny");
        assert!(messages[1].contains("No more events go to a pipe"), "{messages:?}");
        outlet.close();
    }

    /// Check that an event counts as heard once every place has taken it, and not before.
    #[test]
    fn heard_when_taken() {
        let (release, gate) = mpsc::channel();
        let (taken, _events) = mpsc::channel();
        let outlet = Outlet::new(vec![Box::new(Slow(gate, taken))]);
        assert!(outlet.is_heard(Duration::ZERO));
        outlet.send(Event::new(EventKind::Started, "x"));
        assert!(!outlet.is_heard(Duration::from_millis(50)));
        release.send(()).unwrap();
        assert!(outlet.is_heard(Duration::from_secs(20)));
        outlet.close();
    }

    /// Check that a sink that does not answer never blocks the sender, and that what was dropped
    /// is counted and reported.
    #[test]
    fn a_stopped_journal_does_not_stop_the_watch() {
        let (release, gate) = mpsc::channel();
        let (sender, heard) = mpsc::channel();
        let outlet = Outlet::new(vec![Box::new(Slow(gate, sender))]);
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
