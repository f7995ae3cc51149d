//! Why a command has nothing to work on.

use super::NodeName;
use watchdog_core::memory::{MapError, Refusal, SourceError};

/// Why there is nothing to work on.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The source cannot be used.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The memory map is not known.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The source does not serve a part of a node's memory.
    #[error("{} of node `{node}` {}", refusal.range, refusal.reason)]
    Refused {
        /// The node.
        node: NodeName,
        /// Which part of its memory, and why.
        refusal: Refusal,
    },
    /// The source does not serve a part of the memory that is searched for nodes.
    #[error("in the memory searched for nodes, {0}")]
    Unsearchable(Refusal),
    /// Nodes clash.
    #[error("nodes `{first}` and `{second}` share {what}: give each its own")]
    Shared {
        /// One node.
        first: NodeName,
        /// The other.
        second: NodeName,
        /// What both have.
        what: &'static str,
    },
    /// An image is for an unknown node.
    #[error("there is no node `{0}` for this image: name it with --node {0}=START..END")]
    NoSuchNode(NodeName),
    /// Nothing is reserved.
    #[error(
        "no memory is reserved for other nodes: all that the firmware calls System RAM is RAM of \
         this kernel. Start this kernel with memmap=SIZE$START for the other nodes' memory, or \
         name a node: --node NAME=START..END{0}"
    )]
    NothingReserved(String),
}
