//! `run`: sweep after sweep, the guard's self-test, alerts, until told to stop.

mod attempts;
mod attribution;
mod context;
mod error;
mod invariant;
mod journal_reader;
mod leases;
mod life;
mod messages;
mod nodes;
mod patrol;
mod pulse;
mod receipts;
mod reported;
mod search_backoff;
mod second;
mod self_test;
mod service;
mod strays;
mod survey;
mod sweeper;
mod unsaved;
mod watched_node;
mod watching;

pub use nodes::WatchedNodes;
pub use receipts::ReportedAttempts;
pub use service::{WatchError, WatchOptions, watch};
