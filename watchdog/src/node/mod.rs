//! OS nodes: what the user calls them, where their memory is, and which kernel runs in it.

mod find;
mod spec;
mod target;

pub use find::{Found, Node};
pub use spec::{NodeError, NodeName, NodeSpec, disjoint, mint_ranges};
pub use target::{Nodes, Target, TargetError};
