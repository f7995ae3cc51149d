//! Whose signature baselines must carry.

use std::io::Read;
use std::str::FromStr;
use std::{fmt, fs};

use minisign_verify::PublicKey;
use serde::{Deserialize, Deserializer};

/// A key's file has two short lines.
const LONGEST_FILE: u64 = 4096;

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

    /// Reads a key as minisign prints it (`RW…`), or the file at an absolute path.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |error: &dyn fmt::Display| {
            format!(
                "`{text}` is no minisign public key ({error}): give the key as `minisign -G` prints it, beginning with RW, or the absolute path of its .pub file"
            )
        };
        let key = if text.starts_with('/') {
            // Its first line is a comment.
            let mut file = String::new();
            let opened = fs::File::open(text).map_err(|error| wrong(&error))?;
            opened.take(LONGEST_FILE).read_to_string(&mut file).map_err(|error| wrong(&error))?;
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
