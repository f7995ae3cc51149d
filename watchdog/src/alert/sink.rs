//! The destinations of events, behind one trait.

use super::Event;

/// A destination of events.
pub trait Sink: Send {
    /// Its name, for sentences.
    fn name(&self) -> &'static str;

    /// Delivers one event. `Ok` confirms it.
    ///
    /// # Errors
    /// When the destination does not accept the event. The error may be a [`Diverted`]. The event
    /// waits for this destination, and still goes to the others.
    fn send(&mut self, event: &Event) -> anyhow::Result<()>;
}

/// Why an event that was sent may not have reached its destination.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Diverted {
    /// Another process read it. The text names that process in a sentence.
    #[error("{0} reads its socket, not journald")]
    Read(String),
    /// The process that received it has exited.
    #[error("the process that received the event has exited")]
    Gone,
    /// A filter may drop it or cut it short.
    #[error("a filter at journald's socket may drop the event")]
    Filtered,
}
