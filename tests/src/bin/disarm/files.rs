//! Attacks on the guard's files.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use watchdog_tests::errno::checked;

/// Renames a file, and renames it back if that succeeded.
pub(crate) fn rename(file: &Path) -> io::Result<()> {
    let other = file.with_file_name("renamed");
    fs::rename(file, &other)?;
    fs::rename(&other, file)
}

/// Replaces a file with a copy.
pub(crate) fn replace(file: &Path) -> io::Result<()> {
    let copy = file.with_extension("copy");
    fs::copy(file, &copy)?;
    let result = fs::rename(&copy, file);
    if result.is_err() {
        fs::remove_file(&copy)?;
    }
    result
}

/// Makes a folder beside a file, and removes it again.
pub(crate) fn make_folder(file: &Path) -> io::Result<()> {
    let folder = file.with_file_name("7777");
    fs::create_dir(&folder)?;
    fs::remove_dir(&folder)
}

/// Makes an entry in a folder: a file, a symbolic link, a hard link, a renamed file. Refused only
/// if every attempt is. Removes an entry that was made.
pub(crate) fn make_file(folder: &Path) -> io::Result<()> {
    let new = folder.join("planted");
    let source = std::env::temp_dir().join("planted");
    fs::write(&source, b"x")?;
    let makes: [&dyn Fn() -> io::Result<()>; 4] = [
        &|| fs::write(&new, b"x"),
        &|| symlink("/etc/passwd", &new),
        &|| fs::hard_link(&source, &new),
        &|| fs::rename(&source, &new),
    ];
    let mut last = Ok(());
    for make in makes {
        last = make();
        match &last {
            // The source is on another file system, where this attempt cannot work. Count it as
            // refused.
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                last = Err(io::Error::from_raw_os_error(libc::EPERM));
            }
            Err(_) => {}
            Ok(()) => {
                fs::remove_file(&new)?;
                break;
            }
        }
    }
    let _ = fs::remove_file(&source);
    last
}

/// Calls truncate(2) with the size that the file has.
pub(crate) fn truncate(file: &Path) -> io::Result<()> {
    let size = fs::metadata(file)?.len().cast_signed();
    let name = CString::new(file.as_os_str().as_bytes())?;
    // SAFETY: the kernel reads the name.
    checked(unsafe { libc::truncate(name.as_ptr(), size) }.into()).map(drop)
}

/// Unmounts immediately, then by force, then lazily.
pub(crate) fn unmount(mount: &Path) -> io::Result<()> {
    let name = CString::new(mount.as_os_str().as_bytes())?;
    let mut last = Ok(());
    for flags in [0, libc::MNT_FORCE, libc::MNT_DETACH] {
        // SAFETY: the kernel reads the name.
        last = checked(unsafe { libc::umount2(name.as_ptr(), flags) }.into()).map(drop);
        if last.is_ok() {
            break;
        }
    }
    last
}
