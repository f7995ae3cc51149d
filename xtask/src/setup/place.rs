//! Moves finished files to their places.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Moves a finished file or directory to its place, and replaces an older one.
pub(super) fn put(made: &Path, place: &Path) -> Result<()> {
    if place.is_dir() && !place.is_symlink() {
        fs::remove_dir_all(place)?;
    }
    fs::rename(made, place).with_context(|| format!("cannot put {} in place", place.display()))
}
