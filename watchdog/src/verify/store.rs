//! Baselines on disk: one versioned file a node, checked on load, replaced atomically.
//!
//! The format: a line `watchdog-baseline 1`, a line of JSON ([`Header`]), the text's bytes.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::measure::MAX_TEXT;
use super::{Baseline, BaselineKind, Digest, Identity, TextCopy};

const MAGIC: &str = "watchdog-baseline 1";
/// Longest believable first two lines.
const MAX_HEADER: u64 = 64 << 10;

/// Why a baseline could not be stored or loaded.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("cannot {act} the baseline {path}")]
    Io {
        /// `read` or `write`.
        act: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        error: io::Error,
    },
    /// It is no baseline, or a damaged one.
    #[error(
        "{path} is no sound baseline: {what}. If you trust the node as it is now, move the file away and let `watchdog run` learn anew"
    )]
    Unsound {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// What a baseline file says of itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    node: String,
    kind: BaselineKind,
    made: Timestamp,
    sha256: Digest,
    kernel: Identity,
}

/// The folder of baselines, one file a node.
#[derive(Clone, Debug)]
pub struct BaselineStore(PathBuf);

impl BaselineStore {
    /// The baselines below a state folder (`/var/lib/watchdog`).
    #[must_use]
    pub fn in_state_dir(state: &Path) -> Self {
        Self(state.join("baselines"))
    }

    /// The file of a node's baseline.
    #[must_use]
    pub fn path(&self, node: &str) -> PathBuf {
        self.0.join(format!("{node}.baseline"))
    }

    /// Stores a node's baseline: whole, or not at all.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn save(&self, node: &str, baseline: &Baseline) -> Result<(), StoreError> {
        let path = self.path(node);
        self.write(node, baseline, &path).map_err(|error| StoreError::Io {
            act: "write",
            path,
            error,
        })
    }

    fn write(&self, node: &str, baseline: &Baseline, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let header = Header {
            node: node.to_owned(),
            kind: baseline.kind(),
            made: Timestamp::now(),
            sha256: baseline.sha256(),
            kernel: baseline.identity().clone(),
        };
        let unfinished = self.0.join(format!(".{node}.unfinished"));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?;
        writeln!(file, "{MAGIC}")?;
        writeln!(file, "{}", serde_json::to_string(&header)?)?;
        file.write_all(baseline.text().bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        File::open(&self.0)?.sync_all()
    }

    /// Loads a node's baseline; `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError::Unsound`] when the file is truncated, altered or of another version.
    pub fn load(&self, node: &str) -> Result<Option<Baseline>, StoreError> {
        let path = self.path(node);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::Io { act: "read", path, error }),
        };
        match parse(node, file) {
            Ok(Ok(baseline)) => Ok(Some(baseline)),
            Ok(Err(what)) => Err(StoreError::Unsound { path, what }),
            Err(error) => Err(StoreError::Io { act: "read", path, error }),
        }
    }
}

/// Reads a baseline; the inner error says what is wrong with the content.
fn parse(node: &str, file: impl Read) -> io::Result<Result<Baseline, String>> {
    let mut lines = BufReader::new(file.take(MAX_HEADER + MAX_TEXT));
    let mut line = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        lines.by_ref().take(MAX_HEADER).read_until(b'\n', &mut bytes)?;
        Ok(bytes)
    };
    if line()? != format!("{MAGIC}\n").as_bytes() {
        return Ok(Err(format!("its first line is not `{MAGIC}`")));
    }
    let header: Header = match serde_json::from_slice(&line()?) {
        Ok(header) => header,
        Err(error) => return Ok(Err(format!("its header is damaged ({error})"))),
    };
    if header.node != node {
        return Ok(Err("it is the baseline of another node".to_owned()));
    }
    let mut text = Vec::new();
    lines.read_to_end(&mut text)?;
    if text.len() as u64 != header.kernel.size {
        return Ok(Err(format!("{} bytes of {} are there", text.len(), header.kernel.size)));
    }
    let baseline = Baseline::learn(header.kernel, TextCopy(text));
    if baseline.sha256() != header.sha256 {
        return Ok(Err("its bytes are not those it was made of (SHA-256 differs)".to_owned()));
    }
    Ok(Ok(baseline))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Baseline {
        let identity = Identity {
            release: "6.1.0-test".into(),
            build_id: Some("ab".into()),
            phys: 0x3900_0000,
            virt: 0xffff_ffff_8100_0000,
            size: 9000,
        };
        Baseline::learn(identity, TextCopy((0..9000_u32).map(|n| n as u8).collect()))
    }

    /// Check that a stored baseline loads as it was, and that there is none for another node.
    #[test]
    fn round_trip() {
        let state = tempfile::tempdir().unwrap();
        let store = BaselineStore::in_state_dir(state.path());
        store.save("service-1", &example()).unwrap();
        let loaded = store.load("service-1").unwrap().unwrap();
        assert_eq!(loaded.identity(), example().identity());
        assert_eq!(loaded.text(), example().text());
        assert!(store.load("service-2").unwrap().is_none());
    }

    /// Check that each way to damage a baseline is refused: cut anywhere, any byte changed,
    /// grown, given to another node.
    #[test]
    fn damage_is_refused() {
        let state = tempfile::tempdir().unwrap();
        let store = BaselineStore::in_state_dir(state.path());
        store.save("a", &example()).unwrap();
        let sound = fs::read(store.path("a")).unwrap();
        let refused = |bytes: &[u8], node: &str| {
            fs::write(store.path(node), bytes).unwrap();
            assert!(matches!(store.load(node), Err(StoreError::Unsound { .. })));
        };
        for cut in (0..sound.len()).step_by(97) {
            refused(&sound[..cut], "a");
        }
        for at in [0, 18, sound.len() - 9000, sound.len() - 1] {
            let mut altered = sound.clone();
            altered[at] ^= 1;
            refused(&altered, "a");
        }
        refused(&[sound.as_slice(), b"x"].concat(), "a");
        refused(&sound, "b");
    }
}
