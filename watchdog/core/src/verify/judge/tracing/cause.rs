//! The cause of a legitimate change that closed tables do not cover.

use super::super::Mechanism;
use super::lists::MAX_LINE;
use crate::text::shortened;

/// The cause of a legitimate change that closed tables do not cover.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cause {
    /// The mechanism of the change.
    pub mechanism: Mechanism,
    /// The function or program that the change leads to, fit to print: `function_trace_call`.
    pub name: String,
}

/// Why a branch out of the text has no cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum NoCause {
    /// It leads to nothing that the kernel's lists contain.
    Unexplained(&'static str),
    /// The lists that may contain its target cannot be read, or not to their end.
    NotJudged(&'static str),
}

impl From<&'static str> for NoCause {
    fn from(why: &'static str) -> Self {
        Self::Unexplained(why)
    }
}

impl Cause {
    /// A cause, with its name cut to [`MAX_LINE`] bytes.
    pub(in super::super) fn new(mechanism: Mechanism, name: String) -> Self {
        Self { mechanism, name: shortened(name, MAX_LINE) }
    }
}
