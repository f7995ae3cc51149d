//! Disks that are made on the host and only read by node 0: ext4 images of directories.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Bytes of the file system's own tables for each file, with room to spare.
const PER_FILE: u64 = 0x1000;
/// Bytes of an empty file system, with room to spare: what is not used is a hole.
const EMPTY: u64 = 16 << 20;

/// Makes a disk of a directory. The image appears under its name when it is whole.
///
/// # Errors
/// When the directory cannot be read or the image cannot be written.
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

/// What an overlay is put on.
pub(crate) enum Base<'a> {
    /// An image of a file system.
    Raw(&'a Path),
    /// Another overlay.
    Overlay(&'a Path),
}

/// Makes a qcow2 image for what is written to `base`, which stays as it is.
///
/// # Errors
/// When it cannot be written.
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

/// Bytes that the files of a directory take, as a bound from above.
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
