//! What changed a text legitimately, in a way that leads out of it.

use super::super::Mechanism;
use super::lists::MAX_LINE;
use crate::text::shortened;

/// What changed a text legitimately, in a way that leads out of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cause {
    /// By which mechanism.
    pub mechanism: Mechanism,
    /// Who is behind it, fit to print: `function_trace_call`.
    pub name: String,
}

impl Cause {
    /// A cause, with its name cut to [`MAX_LINE`] bytes.
    pub(in super::super) fn new(mechanism: Mechanism, name: String) -> Self {
        Self { mechanism, name: shortened(name, MAX_LINE) }
    }
}
