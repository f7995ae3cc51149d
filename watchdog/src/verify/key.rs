//! Whose signature baselines must carry.

use std::path::Path;
use std::str::FromStr;

use minisign_verify::PublicKey;
use serde::{Deserialize, Deserializer};

/// A minisign public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaselineKey(PublicKey);

impl BaselineKey {
    /// The key itself.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.0
    }
}

impl FromStr for BaselineKey {
    type Err = String;

    /// Reads a key as minisign prints it (`RW…`), or the file at an absolute path.
    fn from_str(text: &str) -> Result<Self, String> {
        let key = if text.starts_with('/') {
            PublicKey::from_file(Path::new(text))
        } else {
            PublicKey::from_base64(text)
        };
        key.map(Self).map_err(|error| {
            format!(
                "`{text}` is no minisign public key ({error}): give the key as `minisign -G` prints it, beginning with RW, or the absolute path of its .pub file"
            )
        })
    }
}

impl<'de> Deserialize<'de> for BaselineKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
