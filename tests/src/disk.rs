//! Disks that the host makes and node 0 only reads: ext4 images of directories.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Bytes of the file system's own tables for each file, with a margin.
const PER_FILE: u64 = 0x1000;
/// Bytes of an empty file system, with a margin. Unused space is a hole.
const EMPTY: u64 = 16 << 20;

/// Makes a disk from a directory. The image gets its name only when it is complete.
///
/// # Errors
/// If the directory cannot be read or the image cannot be written.
pub(crate) fn make(directory: &Path, image: &Path) -> Result<()> {
    let size = EMPTY + size(directory)?;
    let parent = image.parent().context("the image has no directory")?;
    let unfinished = tempfile::Builder::new().prefix(".disk-").tempfile_in(parent)?;
    let output = Command::new("/sbin/mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d"])
        .arg(directory)
        .arg(unfinished.path())
        .arg(format!("{}K", size.div_ceil(1024)))
        .output()
        .context("cannot start mke2fs: run `cargo xtask setup`")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "no disk of {}: {}", directory.display(), said.trim());
    unfinished.persist(image)?;
    Ok(())
}

/// What an overlay is based on.
pub(crate) enum Base<'a> {
    /// An image of a file system.
    Raw(&'a Path),
    /// Another overlay.
    Overlay(&'a Path),
}

/// Makes a qcow2 image for writes to `base`, which stays unchanged.
///
/// # Errors
/// If the image cannot be written.
pub(crate) fn overlay(base: Base<'_>, image: &Path) -> Result<()> {
    let (format, base) = match base {
        Base::Raw(base) => ("raw", base),
        Base::Overlay(base) => ("qcow2", base),
    };
    let output = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", format, "-b"])
        .args([base, image])
        .output()
        .context("cannot start qemu-img: run `cargo xtask setup`")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "no overlay of {}: {}", base.display(), said.trim());
    Ok(())
}

/// Returns an upper bound for the bytes that a directory's files need.
fn size(directory: &Path) -> Result<u64> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut bytes = 0;
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        bytes += if kind.is_dir() { size(&entry.path())? } else { entry.metadata()?.len() };
        bytes += PER_FILE;
    }
    Ok(bytes + bytes / 16)
}
