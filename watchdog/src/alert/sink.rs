//! What events are handed to.

use super::Event;

/// One place events go to.
pub trait Sink: Send {
    /// The place, for error messages.
    fn name(&self) -> &'static str;

    /// Delivers one event.
    ///
    /// # Errors
    /// When the place does not take it: the event is kept for it, and goes to the other places.
    fn send(&mut self, event: &Event) -> anyhow::Result<()>;
}
