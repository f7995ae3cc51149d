//! A cache of facts about files. An entry is valid until its file changes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A file as it is now: device, inode, size, and when its content last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp(u64, u64, u64, (i64, i64));

impl Stamp {
    /// The stamp of a file; `None` if it cannot be read.
    pub(super) fn of(file: &Path) -> Option<Self> {
        let it = fs::metadata(file).ok()?;
        Some(Self(it.dev(), it.ino(), it.size(), (it.mtime(), it.mtime_nsec())))
    }
}

/// Facts about files. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct FileCache<T>(Arc<Mutex<BTreeMap<PathBuf, (Stamp, T)>>>);

impl<T> Default for FileCache<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> FileCache<T> {
    /// The fact about a file with this stamp, if it is known.
    pub(super) fn get(&self, file: &Path, stamp: Stamp) -> Option<T> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(file).filter(|(of, _)| *of == stamp).map(|(_, what)| what.clone())
    }

    /// Stores a fact about a file, with the stamp from before the file was read.
    pub(super) fn put(&self, file: &Path, stamp: Stamp, what: T) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(file.to_owned(), (stamp, what));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that a fact about a file is known until the file changes or is replaced.
    #[test]
    fn known_until_it_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("image");
        let cache = FileCache::default();
        fs::write(&file, "one").expect("written");
        let stamp = |file: &Path| Stamp::of(file).expect("a stamp");
        assert_eq!(cache.get(&file, stamp(&file)), None);
        cache.put(&file, stamp(&file), 1);
        assert_eq!(cache.clone().get(&file, stamp(&file)), Some(1));
        fs::write(&file, "other").expect("written");
        assert_eq!(cache.get(&file, stamp(&file)), None);
        cache.put(&file, stamp(&file), 2);
        let new = folder.path().join("new");
        fs::write(&new, "third").expect("written");
        fs::rename(&new, &file).expect("renamed");
        assert_eq!(cache.get(&file, stamp(&file)), None);
        assert_eq!(Stamp::of(&new), None);
    }
}
