//! `run`: sweeps, the guard's self-tests and alerts, until a signal stops it.

mod attempts;
mod attribution;
mod context;
mod error;
mod invariant;
mod journal_reader;
mod leases;
mod life;
#[cfg(test)]
mod made_up;
mod messages;
mod nodes;
mod options;
mod patrol;
mod pulse;
mod receipts;
mod reported;
mod reporter;
mod search_backoff;
mod second;
mod self_test;
mod service;
mod start;
mod stopping;
mod strays;
mod survey;
mod sweeper;
mod unsaved;
mod wakeup;
mod watched_guard;
mod watched_node;
mod watching;

pub use error::WatchError;
pub use nodes::WatchedNodes;
pub use options::WatchOptions;
pub use receipts::ReportedAttempts;
pub use start::watch;
