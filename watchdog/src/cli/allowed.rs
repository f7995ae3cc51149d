//! `scan --allow`: what counts as good.

use std::str::FromStr;

use crate::config::AllowedCause;

/// What may be allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Every cause of instrumented text.
    Instrumented,
    /// One cause.
    Cause(AllowedCause),
}

impl FromStr for Allowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "instrumented" => Ok(Self::Instrumented),
            Some(("instrumented", cause)) => cause.parse().map(Self::Cause),
            _ => Err("give `instrumented` or `instrumented:MECHANISM:NAME`".to_owned()),
        }
    }
}
