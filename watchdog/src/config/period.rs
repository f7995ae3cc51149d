//! Periods in the configuration and on the command line.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// Reads a period from a key of the configuration.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    parse_period(&String::deserialize(from)?).map_err(serde::de::Error::custom)
}

/// Parses the time between two sweeps: `500ms`, `1s`, `2m`.
///
/// # Errors
/// A sentence, if the text is not a time from 100 ms to one day.
pub fn parse_period(text: &str) -> Result<Duration, String> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|period| Duration::try_from(period).ok())
        .filter(|period| (Duration::from_millis(100)..=Duration::from_hours(24)).contains(period))
        .ok_or_else(|| {
            format!(
                "invalid period `{text}`: write a time from 100ms to 24h, as in 500ms, 1s or 2m"
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that periods outside the possible range are refused.
    #[test]
    fn periods() {
        assert_eq!(parse_period("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(parse_period("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "1", "0s", "-1s", "99ms", "25h", "1 parsec"] {
            assert!(parse_period(wrong).is_err(), "{wrong}");
        }
    }
}
