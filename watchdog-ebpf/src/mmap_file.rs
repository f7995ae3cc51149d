//! Paths `mmap` and `remap-file-pages`: a shared writable mapping of `/dev/mem`, made by mmap or
//! remap_file_pages.
//!
//! match-proto: `int bpf_lsm_mmap_file(struct file *, unsigned long, unsigned long, unsigned long)`
//! (6.1 to 7.2; 7.2 marks the file as possibly null). Needs `bpf` among the active LSMs. The hook
//! gets neither offset nor length. These are in the system call's registers, because only a system
//! call of the thread itself maps `/dev/mem`.
//!
//! Fails closed: a shared writable mapping of `/dev/mem` through any other call is denied, such as
//! the mmap of 32-bit programs with its arguments in memory. Private mappings are allowed, because
//! they are copies. Read-only mappings are judged when mprotect makes them writable.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use aya_log_ebpf::debug;
use watchdog_common::path;

use crate::access::{Access, earlier};
use crate::memory;
use crate::pointer::Structure;
use crate::registers::{Entry, current};
use crate::structures::File;

const PROT_WRITE: u64 = 2;
/// `MAP_TYPE` and its values (include/uapi/linux/mman.h).
const MAP_TYPE: u64 = 0xf;
const MAP_SHARED: u64 = 1;
const MAP_SHARED_VALIDATE: u64 = 3;

/// Judges a mapping.
#[lsm(hook = "mmap_file")]
pub(crate) fn mmap_file(ctx: LsmContext) -> i32 {
    let protection: u64 = ctx.arg(2);
    let flags: u64 = ctx.arg(3);
    if let Some(verdict) = earlier(ctx.arg(4)) {
        return verdict;
    }
    if !File::at(ctx.arg(0)).is_some_and(File::is_dev_mem) {
        return 0;
    }
    let shared = matches!(flags & MAP_TYPE, MAP_SHARED | MAP_SHARED_VALIDATE);
    if !shared || protection & PROT_WRITE == 0 {
        return 0;
    }
    let (path, aimed) = match current() {
        Some(Entry::RemapFilePages { bytes, pgoff }) => {
            (path::REMAP_FILE_PAGES, memory::pages(pgoff, bytes))
        }
        Some(Entry::Mmap { bytes, pgoff }) => (path::MMAP, memory::pages(pgoff, bytes)),
        _ => (path::MMAP, None),
    };
    if aimed.is_none() {
        debug!(&ctx, "a mapping of /dev/mem at an unknown place");
    }
    Access::to_memory(path, aimed).deny()
}
