//! Baselines on disk: one versioned file per node, checked on load and replaced atomically.
//!
//! A file consists of a line `watchdog-baseline 3`, a line of JSON ([`Header`]), and the reference:
//! encoded by postcard and compressed by LZ4. `NODE.baseline.minisig` is minisign's signature of
//! the whole file. It is required if a public key is configured.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use minisign_verify::{PublicKey, Signature};
use serde::{Deserialize, Serialize};

use super::{Baseline, BaselineKind, Identity, Origin};
use crate::digest::Digest;
use crate::files;
use crate::text::printable;

const MAGIC: &str = "watchdog-baseline 3";
/// Longest header that is accepted.
const MAX_HEADER: usize = 64 << 10;
/// Largest file that is read, and largest reference that it may unpack to.
const MAX_FILE: u64 = 512 << 20;
/// Longest signature that is read. minisign's have about 300 bytes.
const MAX_SIGNATURE: u64 = 64 << 10;

/// Why a baseline could not be stored or loaded.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system returned an error.
    #[error("cannot {act} the baseline {path}")]
    Io {
        /// `read` or `write`.
        act: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        error: io::Error,
    },
    /// The file is not a baseline, or is damaged.
    #[error(
        "{path} is not a valid baseline: {what}. Make it again with `watchdog baseline import`. \
         Or, if you trust the node as it is now, move the file away and let `watchdog run` learn \
         one"
    )]
    Unsound {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A key is configured, and the signature is missing or from another key.
    #[error(
        "{path} is not signed by the configured key: {what}. Sign it with `minisign -Sm {path}`, \
         or remove `baseline_key` from the configuration"
    )]
    Signature {
        /// The baseline.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A key is configured, and the node has no baseline that could be signed.
    #[error(
        "node {node} has no baseline, and `baseline_key` accepts only signed ones: make one with \
         `watchdog baseline import --node {node} --image FILE` and sign {path}"
    )]
    NothingSigned {
        /// The node.
        node: String,
        /// Where its baseline would be.
        path: PathBuf,
    },
}

/// The header of a baseline file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    node: String,
    kind: BaselineKind,
    kernel: Identity,
    origin: Origin,
    /// SHA-256 of the packed reference.
    sha256: Digest,
    /// Bytes of the unpacked reference.
    unpacked: u64,
}

/// The directory of baselines, with one file per node.
#[derive(Clone, Debug)]
pub struct BaselineStore {
    directory: PathBuf,
    key: Option<PublicKey>,
}

impl BaselineStore {
    /// Opens the baselines below a state directory (`/var/lib/watchdog`). With a key, they must be
    /// signed.
    #[must_use]
    pub fn in_state_dir(state: &Path, key: Option<PublicKey>) -> Self {
        Self { directory: Self::folder(state), key }
    }

    /// The file of a node's baseline.
    #[must_use]
    pub fn path(&self, node: &str) -> PathBuf {
        self.directory.join(format!("{node}.baseline"))
    }

    /// The directory of baselines below a state directory.
    #[must_use]
    pub fn folder(state: &Path) -> PathBuf {
        state.join("baselines")
    }

    /// The directory of this store.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether only signed baselines are accepted.
    #[must_use]
    pub const fn wants_signatures(&self) -> bool {
        self.key.is_some()
    }

    /// Time of the last write and size of each baseline's file, by node.
    #[must_use]
    pub fn written(&self) -> BTreeMap<String, (Option<SystemTime>, u64)> {
        let written = |node: String| {
            let status = fs::metadata(self.path(&node)).ok()?;
            Some((node, (status.modified().ok(), status.len())))
        };
        self.nodes().unwrap_or_default().into_iter().filter_map(written).collect()
    }

    /// SHA-256 of each baseline's file, by node. Files that cannot be read are left out.
    #[must_use]
    pub fn digests(&self) -> BTreeMap<String, String> {
        let digest = |node: String| {
            let digest =
                Digest::of_reader(&mut files::open(&self.path(&node)).ok()?).ok()?.to_string();
            Some((node, digest))
        };
        self.nodes().unwrap_or_default().into_iter().filter_map(digest).collect()
    }

    /// The names of the nodes that have a baseline, sorted.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the directory exists but cannot be read.
    pub fn nodes(&self) -> Result<Vec<String>, StoreError> {
        let failed = |error| StoreError::Io { act: "read", path: self.directory.clone(), error };
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut nodes = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let node = name.to_str().and_then(|name| name.strip_suffix(".baseline"));
            nodes.extend(node.filter(|node| !node.starts_with('.')).map(str::to_owned));
        }
        nodes.sort_unstable();
        Ok(nodes)
    }

    /// Stores a node's baseline. The file is replaced as a whole, or not at all.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the file cannot be written, or would be too large to load again.
    pub fn save(&self, node: &str, baseline: &Baseline) -> Result<(), StoreError> {
        let path = self.path(node);
        self.write(node, baseline, &path).map_err(|error| StoreError::Io {
            act: "write",
            path,
            error,
        })
    }

    fn write(&self, node: &str, baseline: &Baseline, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let reference = postcard::to_stdvec(&*baseline.reference).map_err(io::Error::other)?;
        let packed = lz4_flex::block::compress(&reference);
        let header = Header {
            node: node.to_owned(),
            kind: baseline.kind,
            kernel: baseline.identity.clone(),
            origin: baseline.origin.clone(),
            sha256: Digest::of(&packed),
            unpacked: reference.len() as u64,
        };
        let header = serde_json::to_string(&header)?;
        loads_again(header.len(), packed.len(), reference.len())?;
        files::replace(path, 0o600, |file| {
            writeln!(file, "{MAGIC}")?;
            writeln!(file, "{header}")?;
            file.write_all(&packed)
        })
    }

    /// Loads a node's baseline; `None` if there is none. With a key, a missing baseline is an
    /// error.
    ///
    /// # Errors
    /// [`StoreError`] when the file is unreadable, truncated, altered, of another version or not
    /// signed.
    pub fn load(&self, node: &str) -> Result<Option<Baseline>, StoreError> {
        let path = self.path(node);
        let bytes = match files::read(&path, MAX_FILE) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                log::debug!("node {node}: there is no baseline, {} does not exist", path.display());
                return match self.key {
                    Some(_) => Err(StoreError::NothingSigned { node: node.to_owned(), path }),
                    None => Ok(None),
                };
            }
            Err(error) => return Err(StoreError::Io { act: "read", path, error }),
        };
        log::debug!("node {node}: the baseline is {}, {} bytes", path.display(), bytes.len());
        self.check_signature(&path, &bytes)?;
        parse(node, &bytes).map(Some).map_err(|what| StoreError::Unsound { path, what })
    }

    /// Checks the signature over a file's content, if a key is configured.
    fn check_signature(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let Some(key) = &self.key else { return Ok(()) };
        let wrong = |what: String| StoreError::Signature { path: path.to_owned(), what };
        let mut beside = path.as_os_str().to_owned();
        beside.push(".minisig");
        let text = files::read(Path::new(&beside), MAX_SIGNATURE)
            .map_err(|error| wrong(format!("{}: {error}", beside.display())))?;
        let text = String::from_utf8(text).map_err(|_| wrong("no signature".to_owned()))?;
        let signature = Signature::decode(&text).map_err(|error| wrong(error.to_string()))?;
        key.verify(bytes, &signature, false).map_err(|error| wrong(error.to_string()))
    }
}

/// Refuses to write a baseline that is too large to load. Takes the sizes in bytes of the header,
/// the packed reference and the unpacked reference.
fn loads_again(header: usize, packed: usize, unpacked: usize) -> io::Result<()> {
    let ends = [MAGIC.len(), header, packed, 2];
    let file = ends.into_iter().fold(0_u64, |sum, part| sum.saturating_add(part as u64));
    let size = file.max(unpacked as u64);
    if header >= MAX_HEADER {
        return Err(io::Error::other(format!(
            "its header would have {header} bytes; a header must have fewer than {MAX_HEADER}"
        )));
    }
    if size > MAX_FILE {
        return Err(io::Error::other(format!(
            "it would have {size} bytes; the limit is {MAX_FILE}. The kernel's text, data or \
             symbol table is larger than in any known kernel"
        )));
    }
    Ok(())
}

/// Parses a baseline. The error says what is wrong with the file.
fn parse(node: &str, bytes: &[u8]) -> Result<Baseline, String> {
    let rest = bytes
        .strip_prefix(MAGIC.as_bytes())
        .and_then(|rest| rest.strip_prefix(b"\n"))
        .ok_or_else(|| format!("its first line is not `{MAGIC}`"))?;
    let end = rest.iter().take(MAX_HEADER).position(|byte| *byte == b'\n');
    let (header, packed) = end
        .and_then(|end| Some((rest.get(..end)?, rest.get(end.checked_add(1)?..)?)))
        .ok_or("it is cut short")?;
    let header: Header = serde_json::from_slice(header).map_err(|error| {
        format!("its header is damaged ({})", printable(error.to_string().as_bytes(), 200))
    })?;
    if header.node != node {
        return Err("it is the baseline of another node".to_owned());
    }
    if Digest::of(packed) != header.sha256 {
        return Err("its content has changed (SHA-256 differs)".to_owned());
    }
    // A byte of LZ4 unpacks to at most 255 bytes.
    let most = (packed.len() as u64).saturating_mul(255).min(MAX_FILE);
    let size = usize::try_from(header.unpacked).ok().filter(|_| header.unpacked <= most);
    let size = size.ok_or("its unpacked content would be larger than any baseline")?;
    let reference = lz4_flex::block::decompress(packed, size)
        .ok()
        .and_then(|bytes| postcard::from_bytes(&bytes).ok())
        .ok_or("its content cannot be unpacked")?;
    let Header { kind, kernel: identity, origin, .. } = header;
    let baseline = Baseline { kind, identity, origin, reference: Arc::new(reference) };
    if !baseline.is_sound() {
        return Err("its parts contradict each other".to_owned());
    }
    Ok(baseline)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that a baseline too large to load is not written, at exactly the sizes that loading
    /// refuses.
    #[test]
    fn too_large_to_load_again() {
        let most = MAX_FILE as usize;
        let rest = MAGIC.len() + 100 + 2;
        assert!(loads_again(100, most - rest, most).is_ok());
        let error = loads_again(100, most - rest + 1, most).unwrap_err().to_string();
        assert!(error.contains(&format!("{} bytes", most + 1)), "{error}");
        assert!(loads_again(100, 1 << 20, most + 1).is_err());
        assert!(loads_again(MAX_HEADER - 1, 1, 1).is_ok());
        assert!(loads_again(MAX_HEADER, 1, 1).is_err());
    }
}
