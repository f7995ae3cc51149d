//! One place that events go to, and those that it has not taken yet.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use super::sink::{Diverted, Sink};
use super::{Event, EventKind};

/// Events that are kept for a place that takes none; the next ones are counted. What happened
/// first says more than what came of it, and attempts are folded before they come here: this is
/// minutes even of an attack.
pub(super) const KEPT: usize = 4096;

/// An event on its way to every place.
pub(super) struct Letter {
    pub(super) event: Event,
    /// Whether a place has taken it.
    is_reported: Cell<bool>,
}

impl Letter {
    pub(super) fn new(event: Event) -> Rc<Self> {
        Rc::new(Self { event, is_reported: Cell::new(false) })
    }
}

/// A place, with what waits for it.
pub(super) struct Place {
    sink: Box<dyn Sink>,
    waiting: VecDeque<Rc<Letter>>,
    dropped: u64,
    /// Since when it takes nothing.
    refuses: Option<Instant>,
    /// What became of what was for it meanwhile.
    diverted: Option<Diverted>,
}

/// Whether a place can still take anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing waits for it.
    Done,
    /// It takes nothing now, and may later.
    Waiting,
    /// Its reader is gone, and does not come back.
    Closed,
}

impl Place {
    pub(super) fn new(sink: Box<dyn Sink>) -> Self {
        Self { sink, waiting: VecDeque::new(), dropped: 0, refuses: None, diverted: None }
    }

    pub(super) fn name(&self) -> &'static str {
        self.sink.name()
    }

    /// Has an event wait for its turn.
    pub(super) fn push(&mut self, letter: Rc<Letter>) {
        if self.waiting.len() < KEPT {
            self.waiting.push_back(letter);
        } else {
            self.dropped += 1;
        }
    }

    /// Gives the place what waits, in order, until it refuses one. `reported` gets each event that
    /// no place had taken before.
    pub(super) fn deliver(&mut self, reported: &mut dyn FnMut(&Event)) -> State {
        while let Some(letter) = self.waiting.front() {
            match self.sink.send(&letter.event) {
                Ok(()) => {
                    if !letter.is_reported.replace(true) {
                        reported(&letter.event);
                    }
                    self.waiting.pop_front();
                }
                Err(error) if is_closed(&error) => return State::Closed,
                Err(error) => {
                    match error.downcast_ref() {
                        // Who it was is known from before.
                        Some(Diverted::Gone) if self.diverted.is_some() => {}
                        Some(how) => self.diverted = Some(Diverted::clone(how)),
                        None => {}
                    }
                    if self.refuses.is_none() {
                        self.refuses = Some(Instant::now());
                        log::error!(
                            "{} does not accept events ({error:#}). Up to {KEPT} events are kept \
                             and sent again every second",
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
            self.push(Letter::new(diverted(&how, self.sink.name(), seconds)));
            return self.deliver(reported);
        }
        if self.dropped > 0 {
            self.push(Letter::new(dropped(self.dropped, self.sink.name(), seconds)));
            self.dropped = 0;
            return self.deliver(reported);
        }
        State::Done
    }

    /// Logs what it has not taken when the program ends.
    pub(super) fn give_up(&self) {
        let left = self.waiting.len() as u64 + self.dropped;
        if left > 0 {
            log::error!(
                "{} did not accept {left} events before the watchdog ended; these are lost there",
                self.sink.name()
            );
        }
    }
}

/// Whether the reader at the other end has gone.
fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|it| it.kind() == io::ErrorKind::BrokenPipe)
}

/// The event of a process that read what was sent, or filtered it.
fn diverted(how: &Diverted, place: &str, seconds: u64) -> Event {
    let way = match how {
        Diverted::Read(who) => format!("to {who}"),
        Diverted::Gone => "to a process that has exited".to_owned(),
        Diverted::Filtered => "through a filter at journald's socket".to_owned(),
    };
    Event::new(
        EventKind::GuardTampered,
        format!(
            "For {seconds} s, events sent to {place} went {way}. They were sent again afterwards, \
             with the times at which they were seen"
        ),
    )
}

/// The event that stands for events that a place never gets.
fn dropped(count: u64, place: &str, seconds: u64) -> Event {
    Event::new(
        EventKind::GuardDegraded,
        format!(
            "{count} events were not reported in {place}: it accepted none for {seconds} s, and \
             at most {KEPT} are kept for it. The guard and the sweeps were not affected"
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A place that takes events only while it is open, and what it has.
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

    fn letter(number: usize) -> Rc<Letter> {
        Letter::new(Event::new(EventKind::Started, number.to_string()))
    }

    /// Check that what a place refuses is sent again in order once it takes events, that what is
    /// beyond the bound is counted and reported, and that each event counts as reported once.
    #[test]
    fn sent_again_in_order() {
        let (door, mut reported) = (Door::default(), 0);
        let mut places = [Place::new(Box::new(door.clone())), Place::new(Box::new(door.clone()))];
        for number in 0..KEPT + 3 {
            let letter = letter(number);
            for place in &mut places {
                place.push(Rc::clone(&letter));
                if number < 2 {
                    assert_eq!(place.deliver(&mut |_| reported += 1), State::Waiting);
                }
            }
        }
        assert_eq!(reported, 0);
        door.0.lock().unwrap().0 = true;
        for place in &mut places {
            assert_eq!(place.deliver(&mut |_| reported += 1), State::Done);
            let came = std::mem::take(&mut door.0.lock().unwrap().1);
            let (last, events) = came.split_last().unwrap();
            assert!(events.iter().map(|it| it.parse::<usize>().unwrap()).eq(0..KEPT));
            assert!(last.starts_with("3 events were not reported in the door"), "{last}");
        }
        assert_eq!(reported, KEPT + 2);
        places[0].push(letter(7));
        assert_eq!(places[0].deliver(&mut |_| reported += 1), State::Done);
        assert_eq!(door.0.lock().unwrap().1, ["7"]);
    }
}
