//! What a text should be.

use serde::{Deserialize, Serialize};

use super::{Digest, TextCopy};
use crate::locate::Kernel;

/// Where a baseline comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BaselineKind {
    /// The first sweep: trusted on first use.
    Learned,
}

/// Which kernel, at which place, a baseline speaks of.
///
/// A learned baseline holds the text as relocated by one boot. It judges no other placement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// `uname -r`.
    pub release: String,
    /// The build id (hexadecimal), where the kernel has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub build_id: Option<String>,
    /// Physical address of `_stext`.
    pub phys: u64,
    /// Virtual address of `_stext`.
    pub virt: u64,
    /// Bytes from `_stext` to `_etext`.
    pub size: u64,
}

impl Identity {
    /// The identity of a located kernel.
    #[must_use]
    pub fn of(kernel: &Kernel) -> Self {
        Self {
            release: kernel.release.clone(),
            build_id: kernel.build_id.clone(),
            phys: kernel.text.phys.0,
            virt: kernel.text.virt.0,
            size: kernel.text.size,
        }
    }
}

/// The expected text: its bytes, and the digest of each page to compare with quickly.
#[derive(Clone, Debug)]
pub struct Baseline {
    kind: BaselineKind,
    identity: Identity,
    text: TextCopy,
    sha256: Digest,
    pages: Vec<Digest>,
}

impl Baseline {
    /// A baseline from the text as it stands: what is there now is taken for right.
    #[must_use]
    pub fn learn(identity: Identity, text: TextCopy) -> Self {
        let sha256 = Digest::of(text.bytes());
        let pages = text.pages().map(Digest::of).collect();
        Self { kind: BaselineKind::Learned, identity, text, sha256, pages }
    }

    /// Where it comes from.
    #[must_use]
    pub const fn kind(&self) -> BaselineKind {
        self.kind
    }

    /// Which kernel it speaks of.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The expected text.
    #[must_use]
    pub const fn text(&self) -> &TextCopy {
        &self.text
    }

    /// The digest of the expected text.
    #[must_use]
    pub const fn sha256(&self) -> Digest {
        self.sha256
    }

    /// The digests of its pages, in order; the last page ends at `_etext`.
    #[must_use]
    pub fn page_digests(&self) -> &[Digest] {
        &self.pages
    }
}
