//! The number that a program reports with an attempt.

use std::collections::BTreeMap;

/// The number that a program reported with an attempt, and the data that explains it.
pub(crate) struct AttemptDetail<'a> {
    /// The number; 0 for none.
    pub(crate) number: u32,
    /// Whether the attempt was only observed.
    pub(crate) is_observed: bool,
    /// The kernel's lockdown reasons (`enum lockdown_reason`), by number.
    pub(crate) reasons: &'a BTreeMap<u32, String>,
}

/// The detail of a path whose programs report no number.
pub(super) fn none(_: &AttemptDetail<'_>) -> Option<String> {
    None
}

/// The detail of a path whose programs report one of the kernel's lockdown reasons.
pub(super) fn reason(detail: &AttemptDetail<'_>) -> Option<String> {
    detail.reasons.get(&detail.number).cloned()
}
