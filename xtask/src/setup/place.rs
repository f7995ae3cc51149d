//! Putting what was made where it belongs.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Puts a finished artefact in its place, over an older one.
pub(super) fn put(made: &Path, place: &Path) -> Result<()> {
    if place.is_dir() && !place.is_symlink() {
        fs::remove_dir_all(place)?;
    }
    fs::rename(made, place).with_context(|| format!("cannot put {} in place", place.display()))
}
