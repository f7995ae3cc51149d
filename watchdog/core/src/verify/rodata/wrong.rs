//! Places that are not as expected.

/// A place that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Image offset.
    pub(super) at: u32,
    pub(super) expected: Vec<u8>,
    pub(super) found: Vec<u8>,
    pub(super) why: &'static str,
}
