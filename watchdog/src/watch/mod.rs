//! `run`: sweep after sweep, the guard's self-test, alerts, until told to stop.

mod attempts;
mod attribution;
mod context;
mod error;
mod invariant;
mod leases;
mod life;
mod messages;
mod nodes;
mod patrol;
mod pulse;
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
pub use service::{WatchError, WatchOptions, watch};
