//! Why an image cannot be gone by.

/// Why an image cannot be gone by.
#[derive(Debug, thiserror::Error)]
#[error("the kernel image {0}")]
pub struct ReferenceError(pub(in crate::verify) String);
