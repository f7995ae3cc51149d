//! The event type and where events go: the journal, a terminal, standard output.

mod console;
mod digest;
mod event;
mod journal;
mod outlet;
mod place;
mod sink;

pub use console::{Terminal, line};
pub use event::{Event, EventKind, PathCoverage, Process};
pub use journal::{ConfirmReader, Journal};
pub use outlet::Outlet;
pub use sink::{Diverted, Sink};
