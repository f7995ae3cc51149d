//! The event type, and the destinations of events: the journal, a terminal, standard output.

mod console;
mod delivery;
mod destination;
mod digest;
mod event;
mod journal;
mod kind;
mod outlet;
mod receipt;
mod sink;

pub use console::{Terminal, line};
pub use event::{Event, PathCoverage, Process};
pub use journal::{ConfirmReader, Journal};
pub use kind::EventKind;
pub use outlet::Outlet;
pub use receipt::{Receipt, Receipts};
pub use sink::{Diverted, Sink};
