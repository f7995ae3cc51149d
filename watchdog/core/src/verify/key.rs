//! The public key that baselines must be signed with.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use minisign_verify::PublicKey;
use serde::{Deserialize, Deserializer};

use crate::files;

/// Largest key file that is read. minisign's have two lines.
const LARGEST: u64 = 64 << 10;

/// A minisign public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaselineKey {
    key: PublicKey,
    text: String,
}

impl BaselineKey {
    /// The key itself.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.key
    }

    /// The key as minisign prints it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl FromStr for BaselineKey {
    type Err = String;

    /// Parses a key as minisign prints it (`RW…`), or reads it from the file at an absolute path.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |error: &dyn fmt::Display| {
            format!(
                "`{text}` is not a minisign public key ({error}): give the key as `minisign -G` \
                 prints it, beginning with RW, or the absolute path of its .pub file"
            )
        };
        let key = if text.starts_with('/') {
            let file = files::read_text(Path::new(text), LARGEST).map_err(|error| wrong(&error))?;
            // The first line is a comment.
            file.lines().nth(1).unwrap_or_default().trim().to_owned()
        } else {
            text.to_owned()
        };
        let public = PublicKey::from_base64(&key).map_err(|error| wrong(&error))?;
        Ok(Self { key: public, text: key })
    }
}

impl<'de> Deserialize<'de> for BaselineKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
