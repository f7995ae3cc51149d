//! Path 25: the pins, the watchdog's executable, its configuration and its baselines.
//!
//! match-proto: `int bpf_lsm_inode_unlink(struct inode *, struct dentry *)`,
//! `int bpf_lsm_inode_rename(struct inode *, struct dentry *, struct inode *, struct dentry *)`,
//! `int bpf_lsm_inode_create(struct inode *, struct dentry *, umode_t)`,
//! `int bpf_lsm_inode_mkdir(struct inode *, struct dentry *, umode_t)`,
//! `int bpf_lsm_inode_symlink(struct inode *, struct dentry *, const char *)`,
//! `int bpf_lsm_inode_link(struct dentry *, struct inode *, struct dentry *)`,
//! `int bpf_lsm_path_mknod(const struct path *, struct dentry *, umode_t, unsigned int)`,
//! `int bpf_lsm_path_truncate(const struct path *)`,
//! `int bpf_lsm_path_chmod(const struct path *, umode_t)`,
//! `int bpf_lsm_path_chown(const struct path *, kuid_t, kgid_t)` (6.1 to 7.2). Needs `bpf` among the active
//! LSMs. Opening for writing is judged in `file_open`.
//!
//! What is above pins and kept files keeps its name too: who renames a folder above has the next
//! watchdog read another configuration.
//!
//! Pins go only once the guard is released. A folder that holds something cannot be removed, so
//! rmdir(2) needs no program.
//!
//! Fails open for a file whose inode cannot be read; proven by the watchdog's own attempt at a decoy.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use watchdog_common::{file_kind, own};

use crate::judge;
use crate::kernel::{Name, Object, field, key_of_inode, offset};
use crate::own::{is_kept, is_released, kind, reserve};

/// What the name of a decoy begins with.
const DECOY: [u8; 5] = *b"decoy";

/// Judges a name that is to go.
#[lsm(hook = "inode_unlink")]
pub(crate) fn inode_unlink(ctx: LsmContext) -> i32 {
    let (folder, entry): (Object, Object) = (ctx.arg(0), ctx.arg(1));
    if let Some(verdict) = judge::earlier(ctx.arg(2)) {
        return verdict;
    }
    let kinds = [folder_kind(folder), name_kind(entry), 0, 0];
    change(own::UNLINK, kinds, entry)
}

/// Judges a name that is to become another.
#[lsm(hook = "inode_rename")]
pub(crate) fn inode_rename(ctx: LsmContext) -> i32 {
    let (from, entry): (Object, Object) = (ctx.arg(0), ctx.arg(1));
    let (to, replaced): (Object, Object) = (ctx.arg(2), ctx.arg(3));
    if let Some(verdict) = judge::earlier(ctx.arg(4)) {
        return verdict;
    }
    let kinds = [folder_kind(from), name_kind(entry), folder_kind(to), name_kind(replaced)];
    change(own::RENAME, kinds, entry)
}

/// Judges a new file.
#[lsm(hook = "inode_create")]
pub(crate) fn inode_create(ctx: LsmContext) -> i32 {
    made(folder_kind(ctx.arg(0)), ctx.arg(3))
}

/// Judges a new folder.
#[lsm(hook = "inode_mkdir")]
pub(crate) fn inode_mkdir(ctx: LsmContext) -> i32 {
    made(folder_kind(ctx.arg(0)), ctx.arg(3))
}

/// Judges a new symbolic link.
#[lsm(hook = "inode_symlink")]
pub(crate) fn inode_symlink(ctx: LsmContext) -> i32 {
    made(folder_kind(ctx.arg(0)), ctx.arg(3))
}

/// Judges a new name of a file.
#[lsm(hook = "inode_link")]
pub(crate) fn inode_link(ctx: LsmContext) -> i32 {
    made(folder_kind(ctx.arg(1)), ctx.arg(3))
}

/// Judges a new pin.
#[lsm(hook = "path_mknod")]
pub(crate) fn path_mknod(ctx: LsmContext) -> i32 {
    // SAFETY: the hook's own argument, which the kernel never leaves out.
    made(kind(unsafe { Name::of_path(ctx.arg(0)) }.key()), ctx.arg(4))
}

/// Judges a file that is to be cut.
#[lsm(hook = "path_truncate")]
pub(crate) fn path_truncate(ctx: LsmContext) -> i32 {
    changed(own::TRUNCATE, ctx.arg(0), ctx.arg(1))
}

/// Judges a change of mode.
#[lsm(hook = "path_chmod")]
pub(crate) fn path_chmod(ctx: LsmContext) -> i32 {
    changed(own::MODE, ctx.arg(0), ctx.arg(2))
}

/// Judges a change of owner.
#[lsm(hook = "path_chown")]
pub(crate) fn path_chown(ctx: LsmContext) -> i32 {
    changed(own::MODE, ctx.arg(0), ctx.arg(3))
}

/// Judges a change of a file that only who is trusted may write.
#[inline(always)]
fn changed(detail: u32, path: Object, earlier: i32) -> i32 {
    if let Some(verdict) = judge::earlier(earlier) {
        return verdict;
    }
    // SAFETY: called with arguments of the hooks above alone, whose paths are there.
    let name = unsafe { Name::of_path(path) };
    if is_kept(name.key(), kind(name.folder())) { reserve(detail, false) } else { 0 }
}

/// What a folder that a hook is about is to the guard.
#[inline(always)]
fn folder_kind(folder: Object) -> u32 {
    // SAFETY: called with arguments of the hooks above alone, whose folders are there.
    kind(unsafe { key_of_inode(folder) })
}

/// What the file that has a name is to the guard.
#[inline(always)]
fn name_kind(entry: Object) -> u32 {
    // SAFETY: called with arguments of the hooks above alone, whose names are there.
    kind(unsafe { Name::argument(entry) }.key())
}

/// Judges something new in a folder, by what that is to the guard.
#[inline(always)]
fn made(folder: u32, earlier: i32) -> i32 {
    if let Some(verdict) = judge::earlier(earlier) {
        return verdict;
    }
    match folder {
        file_kind::PINS | file_kind::KEPT => reserve(own::CREATE, false),
        _ => 0,
    }
}

/// Judges a change of names, given what folders and files are to the guard.
#[inline(always)]
fn change(detail: u32, kinds: [u32; 4], entry: Object) -> i32 {
    let any = |wanted: u32| kinds.contains(&wanted);
    if any(file_kind::PINS) {
        // Who is trusted is refused a decoy, and everything else until the guard is released.
        let is_decoy = is_decoy(entry);
        if !is_decoy && !is_released() {
            return judge::own(detail);
        }
        return reserve(detail, is_decoy && !is_released());
    }
    let [_, entry_kind, _, replaced] = kinds;
    let is_above = [entry_kind, replaced].contains(&file_kind::ABOVE);
    if is_above || any(file_kind::EXECUTABLE) || any(file_kind::KEPT) {
        return reserve(detail, false);
    }
    0
}

/// Whether a name is a decoy's.
#[inline(always)]
fn is_decoy(entry: Object) -> bool {
    let name = field::<Object>(entry, offset!(dentry_name)).unwrap_or(core::ptr::null());
    field::<[u8; 5]>(name, 0) == Some(DECOY)
}
