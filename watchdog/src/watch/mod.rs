//! `run`: sweep after sweep, the guard's proof, alerts, until told to stop.

mod attempts;
mod error;
mod invariant;
mod leases;
mod life;
mod missing;
mod nodes;
mod origin;
mod patrol;
mod proof;
mod pulse;
mod searches;
mod second;
mod service;
mod strays;
mod survey;
mod sweeper;
mod tell;
mod unsaved;
mod watching;

pub use nodes::WatchedNodes;
pub use service::{WatchError, WatchOptions, watch};
