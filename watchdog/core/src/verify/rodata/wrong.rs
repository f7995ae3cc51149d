//! What is not as it should be.

/// A place that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Image offset.
    pub(super) at: u32,
    pub(super) expected: Vec<u8>,
    pub(super) found: Vec<u8>,
    pub(super) why: &'static str,
}
