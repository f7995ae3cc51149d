//! Attacks on the mounts below which the guard has its files.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use watchdog_tests::errno::checked;

use crate::bpf::owned;

/// A private mount that is not shared with any other: mounts can be moved there and back.
const PLACE: &str = "/run/siege";

/// Moves a mount by mount(2) with `MS_MOVE`, to a new place and back.
pub(crate) fn move_old(file: &Path) -> io::Result<()> {
    moved_and_back(file, |from, to| mount(from, to, None, libc::MS_MOVE))
}

/// Moves a mount by open_tree(2) and move_mount(2), to a new place and back.
pub(crate) fn move_new(file: &Path) -> io::Result<()> {
    moved_and_back(file, |from, to| move_tree(&tree(from)?, to))
}

/// Hides a folder by mounting an empty file system on it.
pub(crate) fn over(file: &Path) -> io::Result<()> {
    mount(Path::new("tmpfs"), file, Some("tmpfs"), 0)?;
    unmount(file)
}

/// Hides a file or folder by mounting another one on it. `more` are flags that the kernel ignores
/// beside `MS_BIND`.
pub(crate) fn bind_over(file: &Path, more: u64) -> io::Result<()> {
    let other = std::env::temp_dir().join("over");
    if file.is_dir() {
        fs::create_dir_all(&other)?;
    } else {
        fs::write(&other, b"x")?;
    }
    let result = mount(&other, file, None, libc::MS_BIND | more);
    let undone = if result.is_ok() { unmount(file) } else { Ok(()) };
    if other.is_dir() {
        fs::remove_dir(&other)?;
    } else {
        fs::remove_file(&other)?;
    }
    result.and(undone)
}

/// Calls pivot_root(2) to a second mount of the root, and back. In between, the paths of all
/// processes lead to the other mount.
pub(crate) fn pivot() -> io::Result<()> {
    let (root, old) = (Path::new("/"), Path::new("/mnt"));
    private(root)?;
    let result = at_own_place(|new| {
        mount(root, new, None, libc::MS_BIND)?;
        pivot_root(new, &below(new, old))?;
        pivot_root(old, &below(old, new))
    });
    shared(root)?;
    result
}

/// Moves a mount below a new private one, and has the kernel unmount both.
pub(crate) fn private_move(file: &Path) -> io::Result<()> {
    let root = Path::new("/");
    checked_mount(None, root, None, libc::MS_REC | libc::MS_PRIVATE)?;
    let result = at_own_place(|to| mount(file, to, None, libc::MS_MOVE));
    let shared = checked_mount(None, root, None, libc::MS_REC | libc::MS_SHARED);
    result.and(shared)
}

/// Moves a mount to a new place and back. The mount above it must be private during the move.
fn moved_and_back(file: &Path, by: impl Fn(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
    let above = file.parent().unwrap_or(file);
    let above = above.ancestors().find(|folder| is_mount(folder)).unwrap_or(above);
    private(above)?;
    let result = at_own_place(|to| by(file, to).and_then(|()| by(to, file)));
    shared(above)?;
    result
}

/// Calls `act` with a folder to which mounts can be moved. Unmounts everything there afterwards.
fn at_own_place(act: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let place = Path::new(PLACE);
    fs::create_dir_all(place)?;
    mount(Path::new("tmpfs"), place, Some("tmpfs"), 0)?;
    let to = place.join("moved");
    let result = private(place).and_then(|()| fs::create_dir(&to)).and_then(|()| act(&to));
    result.and(unmount(place))
}

/// Returns a path as it is below a folder.
fn below(folder: &Path, path: &Path) -> PathBuf {
    folder.join(path.strip_prefix("/").unwrap_or(path))
}

/// Returns whether the folder is a mount point.
fn is_mount(folder: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().any(|line| line.split(' ').nth(4).map(Path::new) == Some(folder))
}

fn private(mount: &Path) -> io::Result<()> {
    checked_mount(None, mount, None, libc::MS_PRIVATE)
}

fn shared(mount: &Path) -> io::Result<()> {
    checked_mount(None, mount, None, libc::MS_SHARED)
}

fn mount(from: &Path, to: &Path, kind: Option<&str>, flags: u64) -> io::Result<()> {
    checked_mount(Some(from), to, kind, flags)
}

fn checked_mount(from: Option<&Path>, to: &Path, kind: Option<&str>, flags: u64) -> io::Result<()> {
    let (from, to, kind) =
        (from.map(name).transpose()?, name(to)?, kind.map(CString::new).transpose()?);
    let pointer = |text: &Option<CString>| text.as_ref().map_or(std::ptr::null(), |it| it.as_ptr());
    // SAFETY: the kernel reads the names.
    let result = unsafe {
        libc::mount(pointer(&from), to.as_ptr(), pointer(&kind), flags, std::ptr::null())
    };
    checked(result.into()).map(drop)
}

/// Unmounts lazily, with all mounts below it.
fn unmount(mount: &Path) -> io::Result<()> {
    let mount = name(mount)?;
    // SAFETY: the kernel reads the name.
    checked(unsafe { libc::umount2(mount.as_ptr(), libc::MNT_DETACH) }.into()).map(drop)
}

fn tree(at: &Path) -> io::Result<OwnedFd> {
    let at = name(at)?;
    let flags = libc::OPEN_TREE_CLOEXEC;
    // SAFETY: the kernel reads the name.
    let opened =
        checked(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, at.as_ptr(), flags) })?;
    Ok(owned(opened as i32))
}

fn move_tree(tree: &OwnedFd, to: &Path) -> io::Result<()> {
    /// `MOVE_MOUNT_F_EMPTY_PATH` (include/uapi/linux/mount.h).
    const FROM_DESCRIPTOR: u32 = 4;
    let (tree, to, here) = (tree.as_raw_fd(), name(to)?, libc::AT_FDCWD);
    // SAFETY: the kernel reads the names.
    checked(unsafe {
        let empty = c"".as_ptr();
        libc::syscall(libc::SYS_move_mount, tree, empty, here, to.as_ptr(), FROM_DESCRIPTOR)
    })
    .map(drop)
}

fn pivot_root(new: &Path, old: &Path) -> io::Result<()> {
    let (new, old) = (name(new)?, name(old)?);
    // SAFETY: the kernel reads the names.
    checked(unsafe { libc::syscall(libc::SYS_pivot_root, new.as_ptr(), old.as_ptr()) }).map(drop)
}

fn name(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}
