//! `run`: sweep after sweep, the guard's self-test, alerts, until told to stop.

mod attempts;
mod attribution;
mod error;
mod invariant;
mod leases;
mod life;
mod messages;
mod no_kernel;
mod nodes;
mod options;
mod patrol;
mod pulse;
mod search_backoff;
mod second;
mod self_test;
mod service;
mod strays;
mod survey;
mod sweeper;
mod unsaved;
mod watching;

pub use error::WatchError;
pub use nodes::WatchedNodes;
pub use options::WatchOptions;
pub use service::watch;
