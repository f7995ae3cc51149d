//! Opens and replaces files that an argument or the configuration names.
//!
//! An attacker may influence the name, and a folder may change while it is used. Reads are bounded
//! and never wait: they accept only regular files, or other kinds that the caller allows. A pipe
//! would wait for its writer, and opening a device may have side effects. Writes go to a new file,
//! which then replaces the old one, and follow no link.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Opens a regular file for reading.
///
/// # Errors
/// When the file cannot be opened, or is not a regular file.
pub fn open(path: &Path) -> io::Result<File> {
    open_as(path, FileType::is_file, "it is not a regular file, but a folder, a pipe or a device")
}

/// Opens a file of a wanted kind for reading; never waits. `otherwise` is the error for other
/// kinds.
///
/// # Errors
/// When the file cannot be opened, or is of another kind.
pub fn open_as(
    path: &Path,
    is_wanted: impl Fn(&FileType) -> bool,
    otherwise: &'static str,
) -> io::Result<File> {
    let check = |found: fs::Metadata| {
        let found = found.file_type();
        let error = || io::Error::new(io::ErrorKind::InvalidInput, otherwise);
        is_wanted(&found).then_some(()).ok_or_else(error)
    };
    // Check before opening, because opening a device can have side effects. Check again afterwards,
    // because the name may lead to another file by then.
    check(fs::metadata(path)?)?;
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    check(file.metadata()?)?;
    Ok(file)
}

/// Reads a regular file of at most `most` bytes.
///
/// # Errors
/// When the file cannot be read, is not a regular file, or is larger.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let sentence = format!("it is larger than {most} bytes, the limit");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, sentence));
    }
    Ok(bytes)
}

/// Reads a text file of at most `most` bytes.
///
/// # Errors
/// As [`read`], and when the content is not UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "it is not text (UTF-8)"))
}

/// Writes a new file and renames it to `path`. The path thus names either the whole old file or the
/// whole new one. A link at `path` is not followed, but replaced like any other file.
///
/// # Errors
/// The operating system's error; the old file stays.
pub fn replace(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it does not name a file"));
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".unfinished");
    let unfinished = folder.join(hidden);
    let written = write_new(&unfinished, mode, write).and_then(|()| fs::rename(&unfinished, path));
    if let Err(error) = written {
        // Half a file would only waste space on a full disk.
        let _ = fs::remove_file(&unfinished);
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

/// Writes a new file. Removes an old file of that name first.
fn write_new(
    path: &PathBuf,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // `create_new` is O_EXCL, which follows no link in the last component.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    write(&mut file)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::{Duration, Instant};

    use super::*;

    /// Check that anything but a regular file is refused at once, and that the size limit holds.
    #[test]
    fn only_files_within_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let name = std::ffi::CString::new(pipe.as_os_str().as_encoded_bytes()).unwrap();
        // SAFETY: the name ends with a zero and outlives the call.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        let begun = Instant::now();
        for path in [pipe.as_path(), folder.path(), Path::new("/dev/zero"), Path::new("/dev/null")]
        {
            let error = read(path, 16).unwrap_err();
            assert!(
                error.to_string().contains("not a regular file"),
                "{}: {error}",
                path.display()
            );
        }
        assert!(begun.elapsed() < Duration::from_secs(5));
        let file = folder.path().join("file");
        fs::write(&file, [b'a'; 16]).unwrap();
        assert_eq!(read_text(&file, 16).unwrap(), "a".repeat(16));
        assert!(read(&file, 15).unwrap_err().to_string().contains("larger than 15 bytes"));
        fs::write(&file, [0xff]).unwrap();
        assert!(read_text(&file, 16).unwrap_err().to_string().contains("UTF-8"));
    }

    /// Check that links at written paths are replaced and not followed, and that a failed write
    /// leaves nothing behind.
    #[test]
    fn links_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("kept"), "kept").unwrap();
        for link in ["page", ".page.unfinished"] {
            symlink(at("kept"), at(link)).unwrap();
        }
        replace(&at("page"), 0o640, |file| file.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(at("kept")).unwrap(), "kept");
        let page = fs::symlink_metadata(at("page")).unwrap();
        assert!(page.is_file() && page.permissions().mode() & 0o777 == 0o640);
        let full = |_: &mut File| Err(io::Error::from_raw_os_error(libc::ENOSPC));
        replace(&at("page"), 0o640, full).unwrap_err();
        assert_eq!(fs::read_to_string(at("page")).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
