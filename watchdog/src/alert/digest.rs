//! SHA-256 of the executables of reported processes. Each file is read once.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use watchdog_core::digest::Digest;

/// The largest executable that is digested, in bytes. An alert does not wait for a larger one. Many
/// services have 30 to 100 MB.
const LARGEST: u64 = 128 << 20;
/// The number of digests that are stored.
const REMEMBERED: usize = 64;

/// The identity of a file's content: device, inode, size, and when content and inode last changed.
type Key = (u64, u64, u64, (i64, i64), (i64, i64));

/// Digests of files that were read before.
#[derive(Debug, Default)]
pub(super) struct Digests(HashMap<Key, String>);

impl Digests {
    /// The digest of an executable, in hexadecimal; `None` if it is too large or cannot be read.
    pub(super) fn digest_of(&mut self, file: &File) -> Option<String> {
        let status = file.metadata().ok().filter(|it| it.is_file() && it.len() <= LARGEST)?;
        let key = (
            status.dev(),
            status.ino(),
            status.len(),
            (status.mtime(), status.mtime_nsec()),
            (status.ctime(), status.ctime_nsec()),
        );
        if let Some(known) = self.0.get(&key) {
            return Some(known.clone());
        }
        let digest = Digest::of_reader(&mut file.take(LARGEST)).ok()?.to_string();
        if self.0.len() >= REMEMBERED {
            self.0.clear();
        }
        self.0.insert(key, digest.clone());
        Some(digest)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Check that a file's digest is correct, and that it follows a change of the file. Check that
    /// a large file, and anything but a file, has none.
    #[test]
    fn digests() {
        let mut digests = Digests::default();
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"abc").expect("written");
        let open = |file: &File| file.try_clone().expect("a descriptor");
        let rewind = |mut file: &File| std::io::Seek::rewind(&mut file).expect("rewound");
        rewind(&file);
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digests.digest_of(&open(&file)).as_deref(), Some(abc));
        // The digest is stored: the file is not read again.
        assert_eq!(digests.digest_of(&open(&file)).as_deref(), Some(abc));
        file.write_all(b"d").expect("written");
        rewind(&file);
        assert_ne!(digests.digest_of(&open(&file)).as_deref(), Some(abc));
        file.set_len(LARGEST + 1).expect("grown");
        assert_eq!(digests.digest_of(&file), None);
        assert_eq!(digests.digest_of(&File::open("/").expect("a folder")), None);
    }
}
