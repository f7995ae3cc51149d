//! A vendor's image and the node that boots it, as the user writes them.

use std::path::PathBuf;
use std::str::FromStr;

use super::NodeName;

/// A vendor's kernel image as the command line names it: `[NAME=]FILE`.
///
/// The part before the first `=` is a node's name if it is a valid one, and otherwise belongs to
/// the file. For a file with a name like `NAME=FILE`, write a folder before it, because no node's
/// name contains a `/`: `./a=b`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSpec {
    /// The node that boots it; `None` for every node.
    pub node: Option<NodeName>,
    /// The bzImage or vmlinux.
    pub file: PathBuf,
}

/// Why a text names no image.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ImageSpecError {
    /// The text is empty, or nothing follows the node's name.
    #[error(
        "`{0}` names no file: write [NAME=]FILE, as in /boot/vmlinuz-6.12 or \
         web=/boot/vmlinuz-6.12; for a file of this name, write ./{0}"
    )]
    NoFile(String),
}

impl FromStr for ImageSpec {
    type Err = ImageSpecError;

    fn from_str(text: &str) -> Result<Self, ImageSpecError> {
        let named = text.split_once('=').and_then(|(name, file)| Some((name.parse().ok()?, file)));
        let (node, file) = named.map_or((None, text), |(name, file)| (Some(name), file));
        if file.is_empty() {
            return Err(ImageSpecError::NoFile(text.to_owned()));
        }
        Ok(Self { node, file: file.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that a node's name is distinguished from a file with `=` in its name.
    #[test]
    fn parse() {
        for (text, node, file) in [
            ("/boot/vmlinuz-6.1", None, "/boot/vmlinuz-6.1"),
            ("web=/boot/vmlinuz-6.1", Some("web"), "/boot/vmlinuz-6.1"),
            ("web=a=b", Some("web"), "a=b"),
            ("./a=b", None, "./a=b"),
            ("/srv/a=b/vmlinuz", None, "/srv/a=b/vmlinuz"),
            ("=b", None, "=b"),
        ] {
            let spec: ImageSpec = text.parse().unwrap();
            assert_eq!(spec.node.as_ref().map(NodeName::as_str), node, "{text}");
            assert_eq!(spec.file, PathBuf::from(file), "{text}");
        }
        for text in ["", "web="] {
            let error = text.parse::<ImageSpec>().unwrap_err();
            assert_eq!(error, ImageSpecError::NoFile(text.to_owned()));
            assert!(error.to_string().contains("names no file"));
        }
    }
}
