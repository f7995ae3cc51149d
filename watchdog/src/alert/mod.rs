//! The event type and where events go: the journal, a terminal, standard output.

mod console;
mod digest;
mod event;
mod journal;
mod kind;
mod outlet;
mod place;
mod sink;

pub use console::{Terminal, line};
pub use event::{Event, Process};
pub use journal::Journal;
pub use kind::EventKind;
pub use outlet::Outlet;
pub use sink::Sink;
