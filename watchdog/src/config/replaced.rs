//! Keys that another key has replaced. The error for such a key says what to write.

use toml::de::DeTable;

/// Replaced keys of `[guard]`, and what to write in their place.
const REPLACED: [(&str, &str); 2] =
    [("disarm_secret", "disarm = \"$argon2id$…\""), ("sealed", "disarm = \"never\"")];

/// A replaced key in a configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: the key `{key}` was replaced: write `{now}`")]
pub struct ReplacedKey {
    line: usize,
    key: &'static str,
    now: &'static str,
}

/// The first replaced key of a configuration, if it is TOML and has one.
pub(super) fn find(text: &str) -> Option<ReplacedKey> {
    let document = DeTable::parse(text).ok()?;
    let guard = document.get_ref().get("guard")?.get_ref().as_table()?;
    let found = guard.keys().filter_map(|key| {
        let (old, now) = REPLACED.into_iter().find(|(old, _)| key.get_ref() == old)?;
        let before = text.get(..key.span().start).unwrap_or_default();
        Some(ReplacedKey { line: before.matches('\n').count() + 1, key: old, now })
    });
    found.min_by_key(|key| key.line)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that each replaced key is found in its line in every notation, and only under
    /// `[guard]`.
    #[test]
    fn every_key() {
        for (text, line, now) in [
            ("\n[guard]\nsealed = true", 3, "`disarm = \"never\"`"),
            ("guard.\"sealed\" = true", 1, "`disarm = \"never\"`"),
            ("[guard]\ndisarm_secret = \"$argon2id$\"", 2, "`disarm = \"$argon2id$…\"`"),
            ("guard = { sealed = true, disarm_secret = \"\" }", 1, "`disarm = "),
        ] {
            let said = find(text).unwrap().to_string();
            assert!(said.starts_with(&format!("line {line}: ")) && said.contains(now), "{said}");
        }
        for other in ["sealed = true", "[guard]\ndisarm = \"root\"", "guard = 1", "no TOML"] {
            assert_eq!(find(other), None, "{other}");
        }
    }
}
