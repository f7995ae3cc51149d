//! Path `held`: who has guarded frames mapped to be written, by whatever driver: `/dev/mem`, UIO,
//! graphics, MTD; and of `/dev/mem` any frames that may not be written. The watchdog reads this
//! list when the guard is armed and now and then, since a mapping that is there asks nobody again.
//!
//! match-proto: `int bpf_iter_task_vma(struct bpf_iter_meta *, struct task_struct *, struct
//! vm_area_struct *)` (kernel/bpf/task_iter.c, 6.1 to 7.2). The kernel goes through the mappings of
//! every process, and of threads with descriptors of their own, which takes in a group whose leader
//! is gone; `mmap_lock` is held for reading, so no mapping moves while it is followed.
//!
//! What `/proc` says of such a mapping is a place in a device's file, and only the driver knows
//! which memory that is. So the page tables are followed here, through the direct map. Fails
//! closed: a mapping that cannot be followed to its end is listed, and said to be anywhere.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_kernel};
use watchdog_common::{PageTables, Range, SharedFrames, path};

use crate::frames;
use crate::kernel::{Object, field, is_dev_mem, offset};
use crate::listing::{self, Meta};
use crate::{access, rules, search};

/// Filled in by the loader and frozen.
#[unsafe(no_mangle)]
static PAGE_TABLES: PageTables = PageTables { direct_map: 0, levels: 0 };

/// `VM_PFNMAP`, `VM_MIXEDMAP` (include/linux/mm.h): only such mappings have frames that are no
/// page's.
const VM_PFNMAP: u64 = 0x400;
const VM_MIXEDMAP: u64 = 0x1000_0000;

/// Bits of an entry (arch/x86/include/asm/pgtable_types.h).
const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
/// Of an entry that is not present: the mapping may not be used now, and may be again. Its frame is
/// kept inverted (arch/x86/include/asm/pgtable-invert.h).
const PROTECTED: u64 = 1 << 8;
const FRAME: u64 = 0x000f_ffff_ffff_f000;
const PAGE_SHIFT: u64 = 12;
const INDEX_BITS: u64 = 9;
const LAST_INDEX: u64 = (1 << INDEX_BITS) - 1;
/// Entries that are followed in one mapping, at most: 16 GiB of small pages.
const STEPS: u32 = 1 << 22;

/// `struct bpf_iter__task_vma` (kernel/bpf/task_iter.c); each field is eight bytes.
#[repr(C)]
struct Context {
    meta: *const Meta,
    task: Object,
    vma: Object,
}

/// Where the following of a mapping is. All words, so that none of it is left out in a copy.
#[derive(Clone, Copy)]
#[repr(C)]
struct Walk {
    /// The next byte to look at, and the first one behind the mapping: virtual addresses.
    at: u64,
    end: u64,
    /// The topmost table, by its place in the direct map.
    root: u64,
    /// The table that the next byte's entry is in, and its level; level 0 before that is known.
    table: u64,
    level: u64,
    /// What was found: guarded memory, or the canary page where there is none.
    start: u64,
    bytes: u64,
    is_guarded: u64,
    /// Whether the mapping is one of `/dev/mem`, which nobody writes but where the rules say so.
    is_dev_mem: u64,
}

/// One mapping of one process; at the end of all, once without any.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter")]
fn shared_frames(ctx: *mut c_void) -> i32 {
    // SAFETY: the kernel's own context of this kind of program.
    let Context { meta, task, vma } = unsafe { core::ptr::read(ctx.cast::<Context>()) };
    let flags = field::<u64>(vma, offset!(vma_flags)).unwrap_or_default();
    if flags & (VM_PFNMAP | VM_MIXEDMAP) == 0 || !frames::is_writable(vma) {
        return 0;
    }
    let mm = field::<Object>(vma, offset!(vma_mm)).unwrap_or(core::ptr::null());
    let file = field::<Object>(vma, offset!(vma_file)).unwrap_or(core::ptr::null());
    let is_dev_mem = is_dev_mem(file) && rules::refuses(path::MMAP);
    let begin = Walk {
        at: field(vma, offset!(vma_start)).unwrap_or_default(),
        end: field(vma, offset!(vma_end)).unwrap_or_default(),
        root: field(mm, offset!(mm_pgd)).unwrap_or_default(),
        table: 0,
        level: 0,
        start: 0,
        bytes: 0,
        is_guarded: 0,
        is_dev_mem: is_dev_mem.into(),
    };
    let mut walk = begin;
    keep(&raw mut walk, &begin);
    // SAFETY: the function is one that the helper may call, and `walk` outlives the call.
    unsafe { bpf_loop(STEPS, step as *mut c_void, (&raw mut walk).cast(), 0) };
    if walk.is_guarded == 0 && walk.at < walk.end {
        walk.bytes = 0;
    } else if walk.bytes == 0 {
        return 0;
    }
    let inode = field::<Object>(file, offset!(file_inode)).unwrap_or(core::ptr::null());
    let found = SharedFrames {
        start: walk.start,
        bytes: walk.bytes,
        tgid: field(task, offset!(task_tgid)).unwrap_or_default(),
        device: field(inode, offset!(inode_rdev)).unwrap_or_default(),
    };
    // SAFETY: the kernel's own; a structure of whole words.
    unsafe { listing::write(meta, &found) };
    0
}

/// Keeps a state by a copy that the verifier does not follow: it would take every value that each
/// of its fields may have for another state of the loop, and never come to an end.
#[inline(always)]
fn keep(walk: *mut Walk, now: &Walk) {
    let size = size_of::<Walk>() as u32;
    // SAFETY: both are on the stack, and the helper checks where it reads.
    unsafe { bpf_probe_read_kernel(walk.cast(), size, (&raw const *now).cast()) };
}

/// Looks at one entry of a table: goes on in the table it leads to, or behind what it is for. Ends
/// with 1.
unsafe extern "C" fn step(_: u32, walk: *mut Walk) -> u64 {
    // SAFETY: on the stack of the program above, which waits.
    let mut now = unsafe { core::ptr::read(walk) };
    let is_over = advance(&mut now);
    keep(walk, &now);
    is_over.into()
}

#[inline(always)]
fn advance(walk: &mut Walk) -> bool {
    // SAFETY: a static of this program.
    let PageTables { direct_map, levels } =
        unsafe { core::ptr::read_volatile(&raw const PAGE_TABLES) };
    if walk.at >= walk.end || levels == 0 {
        return true;
    }
    if walk.level == 0 {
        (walk.table, walk.level) = (walk.root, levels);
    }
    let shift = (PAGE_SHIFT + INDEX_BITS * (walk.level - 1)) & 63;
    let beside = (1_u64 << shift) - 1;
    let index = (walk.at >> shift) & LAST_INDEX;
    let Some(mut entry) = field::<u64>((walk.table + index * 8) as Object, 0) else { return true };
    let is_last = walk.level == 1 || entry & LARGE != 0;
    if entry & PRESENT != 0 && !is_last {
        walk.table = direct_map + (entry & FRAME);
        walk.level -= 1;
        return false;
    }
    let next = (walk.at | beside) + 1;
    if entry & (PRESENT | PROTECTED) != 0 && is_last {
        if entry & PRESENT == 0 {
            entry = !entry;
        }
        let start = (entry & FRAME & !beside) | (walk.at & beside);
        let bytes = next.min(walk.end) - walk.at;
        let end = start + bytes;
        let is_canary = access::is_inner_canary(start, end);
        let is_writable = !rules::refuses(path::OPEN) && access::is_writable(&Range { start, end });
        let is_left = is_canary || walk.is_dev_mem == 0 || is_writable;
        let is_guarded = search::is_protected(start, end) || !is_left;
        if is_guarded || is_canary {
            (walk.start, walk.bytes, walk.is_guarded) = (start, bytes, is_guarded.into());
        }
        if is_guarded {
            return true;
        }
    }
    walk.at = next;
    if index == LAST_INDEX {
        walk.level = 0;
    }
    false
}
