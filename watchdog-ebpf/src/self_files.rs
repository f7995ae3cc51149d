//! Path `self`: changes of the pins, the watchdog's executable, its configuration and its
//! baselines.
//!
//! match-proto: `int bpf_lsm_inode_unlink(struct inode *, struct dentry *)`, `int
//! bpf_lsm_inode_rename(struct inode *, struct dentry *, struct inode *, struct dentry *)`, `int
//! bpf_lsm_inode_create(struct inode *, struct dentry *, umode_t)`, `int bpf_lsm_inode_mkdir(struct
//! inode *, struct dentry *, umode_t)`, `int bpf_lsm_inode_symlink(struct inode *, struct dentry *,
//! const char *)`, `int bpf_lsm_inode_link(struct dentry *, struct inode *, struct dentry *)`, `int
//! bpf_lsm_path_mknod(const struct path *, struct dentry *, umode_t, unsigned int)`, `int
//! bpf_lsm_inode_setattr(struct mnt_idmap *, struct dentry *, struct iattr *)` (before 6.3 without
//! the first), `int bpf_lsm_inode_setxattr(struct mnt_idmap *, struct dentry *, const char *, …)`,
//! `int bpf_lsm_inode_set_acl(struct mnt_idmap *, struct dentry *, const char *, struct posix_acl
//! *)` (since 6.2; before, ACLs are set like other extended attributes) (6.1 to 7.2). Needs `bpf`
//! among the active LSMs. Opening for writing is judged in `file_open`.
//!
//! Mode, owner and size are judged in `notify_change()` (fs/attr.c), and not by the path that a
//! process names. A file system on top of another one calls that function for the lower file too.
//!
//! Folders above pins and protected files keep their names too. If a process could rename one, the
//! next watchdog would read another configuration.
//!
//! Pins can only be removed once the guard is released. The kernel removes only empty folders, so
//! rmdir(2) needs no program.
//!
//! Fails open for a file whose inode cannot be read. The self-test attempts a change of a canary.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use watchdog_common::{file_kind, self_act};

use crate::access::{Access, earlier};
use crate::arguments::{DentryArgument, InodeArgument, PathArgument};
use crate::identity::kind;
use crate::kernel::Object;
use crate::pointer::Structure;
use crate::self_protection::{deny_untrusted, is_protected_file, is_released};
use crate::structures::{Attributes, Dentry};

/// The beginning of a canary's name.
const CANARY: [u8; 5] = *b"decoy";

/// Judges the removal of a name.
#[lsm(hook = "inode_unlink")]
pub(crate) fn inode_unlink(ctx: LsmContext) -> i32 {
    let (folder, entry): (Object, Object) = (ctx.arg(0), ctx.arg(1));
    if let Some(verdict) = earlier(ctx.arg(2)) {
        return verdict;
    }
    let kinds = [folder_kind(folder), name_kind(entry), file_kind::NONE, file_kind::NONE];
    change(self_act::UNLINK, kinds, entry)
}

/// Judges a rename.
#[lsm(hook = "inode_rename")]
pub(crate) fn inode_rename(ctx: LsmContext) -> i32 {
    let (from, entry): (Object, Object) = (ctx.arg(0), ctx.arg(1));
    let (to, replaced): (Object, Object) = (ctx.arg(2), ctx.arg(3));
    if let Some(verdict) = earlier(ctx.arg(4)) {
        return verdict;
    }
    let kinds = [folder_kind(from), name_kind(entry), folder_kind(to), name_kind(replaced)];
    change(self_act::RENAME, kinds, entry)
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

/// Judges a hard link.
#[lsm(hook = "inode_link")]
pub(crate) fn inode_link(ctx: LsmContext) -> i32 {
    made(folder_kind(ctx.arg(1)), ctx.arg(3))
}

/// Judges a new pin.
#[lsm(hook = "path_mknod")]
pub(crate) fn path_mknod(ctx: LsmContext) -> i32 {
    // SAFETY: the hook's argument, which the kernel never leaves out.
    let folder = unsafe { PathArgument::new(ctx.arg(0)) }.dentry();
    made(kind(folder.key()), ctx.arg(4))
}

/// Judges a change of mode, owner or size.
#[lsm(hook = "inode_setattr")]
pub(crate) fn inode_setattr(ctx: LsmContext) -> i32 {
    set(ctx.arg(1), ctx.arg(2), ctx.arg(3))
}

/// The same on kernels before 6.3.
#[lsm(hook = "inode_setattr")]
pub(crate) fn inode_setattr_before(ctx: LsmContext) -> i32 {
    set(ctx.arg(0), ctx.arg(1), ctx.arg(2))
}

/// Judges an extended attribute, for example an ACL before 6.2 or a label of a security module.
#[lsm(hook = "inode_setxattr")]
pub(crate) fn inode_setxattr(ctx: LsmContext) -> i32 {
    changed(self_act::MODE, ctx.arg(1), ctx.arg(6))
}

/// Judges an ACL, which also grants rights.
#[lsm(hook = "inode_set_acl")]
pub(crate) fn inode_set_acl(ctx: LsmContext) -> i32 {
    changed(self_act::MODE, ctx.arg(1), ctx.arg(4))
}

/// Judges a change of a file's attributes. Every process may set times.
#[inline(always)]
fn set(entry: Object, attributes: Object, verdict: i32) -> i32 {
    // `ATTR_MODE`, `ATTR_UID`, `ATTR_GID`, `ATTR_SIZE` (include/linux/fs.h).
    const SIZE: u32 = 1 << 3;
    const JUDGED: u32 = 1 | 1 << 1 | 1 << 2 | SIZE;
    let valid = Attributes::at(attributes).and_then(Attributes::valid).unwrap_or(JUDGED);
    if valid & JUDGED == 0 {
        return earlier(verdict).unwrap_or(0);
    }
    changed(if valid & SIZE != 0 { self_act::TRUNCATE } else { self_act::MODE }, entry, verdict)
}

/// Judges a change of a file. Only a trusted process may change a protected file.
#[inline(always)]
fn changed(detail: u32, entry: Object, verdict: i32) -> i32 {
    if let Some(verdict) = earlier(verdict) {
        return verdict;
    }
    // SAFETY: called only with arguments of the hooks above, which are never null.
    let name = unsafe { DentryArgument::new(entry) };
    if is_protected_file(name.key(), kind(name.folder())) {
        deny_untrusted(detail, false)
    } else {
        0
    }
}

/// The kind of a hook's folder.
#[inline(always)]
fn folder_kind(folder: Object) -> u32 {
    // SAFETY: called only with arguments of the hooks above, which are never null.
    kind(unsafe { InodeArgument::new(folder) }.key())
}

/// The kind of the file with a name.
#[inline(always)]
fn name_kind(entry: Object) -> u32 {
    // SAFETY: called only with arguments of the hooks above, which are never null.
    kind(unsafe { DentryArgument::new(entry) }.key())
}

/// Judges a new entry in a folder, by the folder's kind.
#[inline(always)]
fn made(folder: u32, verdict: i32) -> i32 {
    if let Some(verdict) = earlier(verdict) {
        return verdict;
    }
    match folder {
        file_kind::PINS | file_kind::PROTECTED => deny_untrusted(self_act::CREATE, false),
        _ => 0,
    }
}

/// Judges a change of names. `kinds` are those of a folder and a file, and in a rename also of the
/// new folder and the replaced file.
#[inline(always)]
fn change(detail: u32, kinds: [u32; 4], entry: Object) -> i32 {
    let any = |wanted: u32| kinds.contains(&wanted);
    if any(file_kind::PINS) {
        // No process may change the pins until the guard is released. A change of a canary by a
        // trusted process is a probe.
        let is_canary = is_canary(entry);
        if !is_canary && !is_released() {
            return Access::to_guard(detail).deny();
        }
        return deny_untrusted(detail, is_canary && !is_released());
    }
    let [_, entry_kind, _, replaced] = kinds;
    let is_above = [entry_kind, replaced].contains(&file_kind::ABOVE);
    if is_above || any(file_kind::EXECUTABLE) || any(file_kind::PROTECTED) {
        return deny_untrusted(detail, false);
    }
    0
}

/// Whether a name belongs to a canary.
#[inline(always)]
fn is_canary(entry: Object) -> bool {
    Dentry::at(entry).and_then(Dentry::name_starts) == Some(CANARY)
}
