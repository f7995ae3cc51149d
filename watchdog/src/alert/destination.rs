//! A destination and the events that it has not confirmed yet.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;

use super::sink::{Diverted, Sink};
use super::{Event, EventKind, Receipt};

/// The number of events that wait for a destination that accepts none. Later ones are counted. The
/// first events of an attack say more than its last ones. Attempts are folded before they come
/// here, so there is room for minutes of an attack.
pub(super) const KEPT: usize = 4096;

/// An event on its way to every destination.
pub(super) struct Outgoing {
    event: Event,
    /// The first destination that confirms the event returns the receipt.
    receipt: Cell<Option<Receipt>>,
}

impl Outgoing {
    pub(super) fn new(mut event: Event) -> Rc<Self> {
        let receipt = Cell::new(event.receipt.take());
        Rc::new(Self { event, receipt })
    }
}

/// A destination, with the events that wait for it.
pub(super) struct Destination {
    sink: Box<dyn Sink>,
    waiting: VecDeque<Rc<Outgoing>>,
    dropped: u64,
    /// When it began to refuse events, if it refuses them.
    refuses: Option<Instant>,
    /// Where the events went since then.
    diverted: Option<Diverted>,
}

/// Whether a destination can still accept events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No event waits for it.
    Done,
    /// It accepts nothing now, but may accept events later.
    Waiting,
    /// Its reader is gone for good.
    Closed,
}

impl Destination {
    pub(super) fn new(sink: Box<dyn Sink>) -> Self {
        Self { sink, waiting: VecDeque::new(), dropped: 0, refuses: None, diverted: None }
    }

    pub(super) fn name(&self) -> &'static str {
        self.sink.name()
    }

    /// Appends an event to those that wait.
    pub(super) fn push(&mut self, outgoing: Rc<Outgoing>) {
        if self.waiting.len() < KEPT {
            self.waiting.push_back(outgoing);
        } else {
            self.dropped += 1;
        }
    }

    /// Sends the events that wait, in order, until one is refused. Returns the receipt of each
    /// event that no other destination confirmed before.
    pub(super) fn deliver(&mut self, receipts: &UnboundedSender<Receipt>) -> State {
        while let Some(outgoing) = self.waiting.front() {
            match self.sink.send(&outgoing.event) {
                Ok(()) => {
                    if let Some(receipt) = outgoing.receipt.take() {
                        // The counting task may have ended. The attempts are then reported again.
                        let _ = receipts.send(receipt);
                    }
                    self.waiting.pop_front();
                }
                Err(error) if is_closed(&error) => return State::Closed,
                Err(error) => {
                    match error.downcast_ref() {
                        // The process was identified before it exited.
                        Some(Diverted::Gone) if self.diverted.is_some() => {}
                        Some(how) => self.diverted = Some(Diverted::clone(how)),
                        None => {}
                    }
                    if self.refuses.is_none() {
                        self.refuses = Some(Instant::now());
                        log::error!(
                            "{} does not accept events ({error:#}). The watchdog keeps up to \
                             {KEPT} events, and tries every second to send them",
                            self.sink.name()
                        );
                    }
                    return State::Waiting;
                }
            }
        }
        let refused = self.refuses.take();
        let seconds = refused.map_or(0, |since| since.elapsed().as_secs());
        if let Some(how) = self.diverted.take() {
            self.push(Outgoing::new(diverted(&how, self.sink.name(), seconds)));
            return self.deliver(receipts);
        }
        if self.dropped > 0 {
            self.push(Outgoing::new(dropped(self.dropped, self.sink.name(), seconds)));
            self.dropped = 0;
            return self.deliver(receipts);
        }
        State::Done
    }

    /// Logs how many events it has not confirmed when the program ends.
    pub(super) fn give_up(&self) {
        let left = self.waiting.len() as u64 + self.dropped;
        if left > 0 {
            log::error!(
                "{left} events could not be delivered to {} before the watchdog exited, and are \
                 missing there",
                self.sink.name()
            );
        }
    }
}

/// Whether the reader at the other end has gone.
fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|it| it.kind() == io::ErrorKind::BrokenPipe)
}

/// The event about events that another process read, or that a filter dropped.
fn diverted(how: &Diverted, name: &str, seconds: u64) -> Event {
    let way = match how {
        Diverted::Read(process) => format!("to {process}"),
        Diverted::Gone => "to a process that has exited".to_owned(),
        Diverted::Filtered => "through a filter at journald's socket".to_owned(),
    };
    Event::new(
        EventKind::GuardTampered,
        format!(
            "For {seconds} s, events sent to {name} went {way}. The watchdog has sent them again, \
             with the times at which they were seen. Find the cause: an attacker may have tried to \
             hide the events"
        ),
    )
}

/// The event that represents events that a destination never gets.
fn dropped(count: u64, name: &str, seconds: u64) -> Event {
    Event::new(
        EventKind::GuardDegraded,
        format!(
            "{count} events are missing in {name}, which accepted none for {seconds} s: the \
             watchdog keeps at most {KEPT} events for a destination. The guard and the sweeps were \
             not affected"
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::alert::Receipts;

    /// A destination that accepts events only while it is open, with the accepted events.
    #[derive(Clone, Default)]
    struct Door(Arc<Mutex<(bool, Vec<String>)>>);

    impl Sink for Door {
        fn name(&self) -> &'static str {
            "the door"
        }
        fn send(&mut self, event: &Event) -> anyhow::Result<()> {
            let mut door = self.0.lock().unwrap();
            anyhow::ensure!(door.0, "closed");
            door.1.push(event.message.clone());
            Ok(())
        }
    }

    /// A destination without a reader.
    struct Gone;

    impl Sink for Gone {
        fn name(&self) -> &'static str {
            "a lost destination"
        }
        fn send(&mut self, _: &Event) -> anyhow::Result<()> {
            Err(io::Error::from(io::ErrorKind::BrokenPipe).into())
        }
    }

    /// An event that accounts for `number` attempts.
    fn outgoing(number: usize) -> Rc<Outgoing> {
        let receipt = Some(Receipt { path: 3, attempts: number as u64 });
        Outgoing::new(Event { receipt, ..Event::new(EventKind::Started, number.to_string()) })
    }

    fn returned(receipts: &mut Receipts) -> Vec<u64> {
        std::iter::from_fn(|| receipts.try_recv().ok()).map(|it| it.attempts).collect()
    }

    /// Check that refused events are sent again in order once the destination accepts events. Check
    /// that events beyond the bound are counted and reported, and that each confirmed event returns
    /// its receipt once.
    #[test]
    fn sent_again_in_order() {
        let (door, (sender, mut receipts)) = (Door::default(), unbounded_channel());
        let mut destinations = [(); 2].map(|()| Destination::new(Box::new(door.clone())));
        for number in 0..KEPT + 3 {
            let outgoing = outgoing(number);
            for destination in &mut destinations {
                destination.push(Rc::clone(&outgoing));
                if number < 2 {
                    assert_eq!(destination.deliver(&sender), State::Waiting);
                }
            }
        }
        assert!(returned(&mut receipts).is_empty());
        door.0.lock().unwrap().0 = true;
        for (destination, expected) in destinations.iter_mut().zip([KEPT as u64, 0]) {
            assert_eq!(destination.deliver(&sender), State::Done);
            let came = std::mem::take(&mut door.0.lock().unwrap().1);
            let (last, events) = came.split_last().unwrap();
            assert!(events.iter().map(|it| it.parse::<usize>().unwrap()).eq(0..KEPT));
            assert!(last.starts_with("3 events are missing in the door"), "{last}");
            assert!(returned(&mut receipts).into_iter().eq(0..expected));
        }
        destinations[0].push(outgoing(7));
        assert_eq!(destinations[0].deliver(&sender), State::Done);
        assert_eq!(door.0.lock().unwrap().1, ["7"]);
        assert_eq!(returned(&mut receipts), [7]);
    }

    /// Check that a lost destination returns no receipt, and that another destination that confirms
    /// the event returns it.
    #[test]
    fn lost_without_receipt() {
        let (door, (sender, mut receipts)) = (Door::default(), unbounded_channel());
        let mut lost = Destination::new(Box::new(Gone));
        let mut other = Destination::new(Box::new(door.clone()));
        let event = outgoing(5);
        lost.push(Rc::clone(&event));
        other.push(event);
        assert_eq!(lost.deliver(&sender), State::Closed);
        drop(lost);
        assert!(returned(&mut receipts).is_empty());
        door.0.lock().unwrap().0 = true;
        assert_eq!(other.deliver(&sender), State::Done);
        assert_eq!(returned(&mut receipts), [5]);
    }
}
