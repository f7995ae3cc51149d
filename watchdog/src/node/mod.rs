//! OS nodes: their names, their memory, and the kernels that run in it.

mod baseline;
mod choose;
mod error;
mod file_cache;
mod find;
mod guarded;
mod image_spec;
mod images;
mod nodes;
mod reach;
mod spec;
mod target;

pub use baseline::{NoBaseline, baseline_for};
pub(crate) use choose::{Candidate, candidates, some_of, successor};
pub use choose::{describe, describe_stray};
pub use error::TargetError;
pub use find::{Found, MOST_NODES, Node, Survey};
pub use image_spec::{ImageSpec, ImageSpecError};
pub use images::{Images, Unreadable};
pub use nodes::Nodes;
pub use spec::{NodeError, NodeName, NodeSpec, disjoint, mint_ranges, named};
pub use target::Target;
