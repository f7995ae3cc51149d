//! Why a kernel image cannot serve as a reference.

/// Why a kernel image cannot serve as a reference.
#[derive(Debug, thiserror::Error)]
#[error("the kernel image {0}")]
pub struct ReferenceError(pub(in crate::verify) String);
