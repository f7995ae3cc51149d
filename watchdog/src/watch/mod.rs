//! `run`: sweep after sweep, the guard's proof, alerts, until told to stop.

mod denials;
mod nodes;
mod proof;
mod pulse;
mod service;
mod sweeper;
mod tell;

pub use nodes::WatchedNodes;
pub use service::{WatchError, WatchOptions, watch};
pub(crate) use tell::symbol;
