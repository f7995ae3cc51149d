//! The directory of a run: consoles, initramfs images, files that are shared with guests.

use std::{fs, path::Path, path::PathBuf, process};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::cache;

const PREFIX: &str = "machine-";

/// Marks the directory of a failed run, whose consoles are useful.
const FAILED: &str = "failed";

/// Creates a directory in the cache for a run of this process.
pub(crate) fn create() -> Result<TempDir> {
    let parent = parent();
    fs::create_dir_all(&parent).with_context(|| format!("cannot create {}", parent.display()))?;
    sweep(&parent)?;
    let prefix = format!("{PREFIX}{}-", process::id());
    Ok(tempfile::Builder::new().prefix(&prefix).tempdir_in(parent)?)
}

/// Is this file in the directory of a run?
pub(super) fn holds(file: &Path) -> bool {
    file.starts_with(parent())
}

fn parent() -> PathBuf {
    cache::directory().join("runs")
}

/// Keeps the directory after its run.
pub(super) fn keep(directory: &mut TempDir) {
    directory.disable_cleanup(true);
    // Without the mark, a later run removes the directory. That is harmless.
    let _unmarked = fs::write(directory.path().join(FAILED), "");
}

/// Removes the directories of processes that were killed.
fn sweep(parent: &Path) -> Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
        let abandoned = owner.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists());
        if abandoned && !entry.path().join(FAILED).exists() {
            // Another process may be removing it too.
            let _gone = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that only the unmarked directories of dead processes are removed.
    #[test]
    fn sweeping() {
        let parent = tempfile::tempdir().expect("a directory");
        // No process id is that large (PID_MAX_LIMIT, include/linux/threads.h).
        let names = ["machine-4194305-a", "machine-4194305-failed", "other"];
        for name in names {
            fs::create_dir(parent.path().join(name)).expect("writable");
        }
        let own = parent.path().join(format!("machine-{}-b", process::id()));
        fs::create_dir(&own).expect("writable");
        fs::write(parent.path().join("machine-4194305-failed").join(FAILED), "").expect("writable");

        sweep(parent.path()).expect("readable");
        assert!(own.exists());
        assert_eq!(names.map(|name| parent.path().join(name).exists()), [false, true, true]);
    }
}
