//! Path `held`: lists writable mappings of guarded frames in processes. Any driver may have made
//! them: `/dev/mem`, UIO, graphics, MTD. For `/dev/mem` the list has all frames that may not be
//! written. No hook runs again for an existing mapping. So the watchdog reads this list when the
//! guard is armed, after every lease, and in every period.
//!
//! match-proto: `int bpf_iter_task_vma(struct bpf_iter_meta *, struct task_struct *, struct
//! vm_area_struct *)` (kernel/bpf/task_iter.c, 6.1 to 7.2). The kernel walks the mappings of every
//! process, and of threads with separate descriptors, so it also covers a thread group whose leader
//! has exited. It holds `mmap_lock` for reading, so no mapping moves during the walk.
//!
//! For such a mapping, `/proc` shows only an offset in a device file, and only the driver knows its
//! memory. So this program walks the page tables, through the direct map. Fails closed: a mapping
//! that cannot be walked to its end is listed without its physical address.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_kernel};
use watchdog_common::{PageTables, Range, SharedFrames, path};

use crate::kernel::{Object, read};
use crate::listing::{self, Meta};
use crate::structures::{File, Inode, Mm, Task, Vma};
use crate::{frames, memory, rules};

/// Filled in by the loader and frozen.
#[unsafe(no_mangle)]
static PAGE_TABLES: PageTables = PageTables::UNKNOWN;

/// `VM_PFNMAP`, `VM_MIXEDMAP` (include/linux/mm.h): only such mappings have frames without a
/// `struct page`.
const VM_PFNMAP: u64 = 0x400;
const VM_MIXEDMAP: u64 = 0x1000_0000;

/// Bits of an entry (arch/x86/include/asm/pgtable_types.h).
const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
/// In an entry that is not present: the mapping cannot be used now, but may become usable again.
/// Its frame is stored inverted (arch/x86/include/asm/pgtable-invert.h).
const PROTECTED: u64 = 1 << 8;
const FRAME: u64 = 0x000f_ffff_ffff_f000;
const INDEX_BITS: u64 = 9;
const LAST_INDEX: u64 = (1 << INDEX_BITS) - 1;
/// The largest number of steps in one mapping: enough for 16 GiB of small pages.
const STEPS: u32 = 1 << 22;
/// The level if the walk must begin at the topmost table. Tables have the levels 1 to 5.
const UNKNOWN_LEVEL: u64 = 0;

/// `struct bpf_iter__task_vma` (kernel/bpf/task_iter.c); each field is eight bytes.
#[repr(C)]
struct Context {
    meta: *const Meta,
    task: Option<Task>,
    vma: Option<Vma>,
}

/// The state of the walk over a mapping. All fields are words, so a copy includes all of it.
#[derive(Clone, Copy)]
#[repr(C)]
struct Walk {
    /// The next byte, and the first byte after the mapping: virtual addresses.
    at: u64,
    end: u64,
    /// The topmost table, at its address in the direct map.
    root: u64,
    /// The table with the next byte's entry, and its level or [`UNKNOWN_LEVEL`].
    table: u64,
    level: u64,
    /// The result: guarded memory, or the canary page if there is no guarded memory.
    start: u64,
    bytes: u64,
    is_guarded: u64,
    /// Whether this is a mapping of `/dev/mem` that may only write where the rules allow it.
    is_dev_mem: u64,
}

/// The kernel calls this for each mapping of each process, and at the end once without a mapping.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter")]
fn shared_frames(ctx: *mut c_void) -> i32 {
    // SAFETY: the kernel's own context of this kind of program.
    let Context { meta, task, vma } = unsafe { core::ptr::read(ctx.cast::<Context>()) };
    let Some(vma) = vma else { return 0 };
    let flags = vma.flags().unwrap_or_default();
    if flags & (VM_PFNMAP | VM_MIXEDMAP) == 0 || !frames::is_writable(vma) {
        return 0;
    }
    let file = vma.file();
    let is_dev_mem = file.is_some_and(File::is_dev_mem) && rules::refuses(path::MMAP);
    let begin = Walk {
        at: vma.start().unwrap_or_default(),
        end: vma.end().unwrap_or_default(),
        root: vma.mm().and_then(Mm::pgd).unwrap_or_default(),
        table: 0,
        level: UNKNOWN_LEVEL,
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
    let inode = file.and_then(File::inode);
    let found = SharedFrames {
        start: walk.start,
        bytes: walk.bytes,
        tgid: task.and_then(Task::tgid).unwrap_or_default(),
        device: inode.and_then(Inode::device_number).unwrap_or_default(),
    };
    // SAFETY: the kernel's own; a structure of whole words.
    unsafe { listing::write(meta, &found) };
    0
}

/// Stores the state with a copy that the verifier does not track. Otherwise the verifier would
/// treat each value of a field as another state of the loop, and would never finish.
#[inline(always)]
fn keep(walk: *mut Walk, now: &Walk) {
    let size = size_of::<Walk>() as u32;
    // SAFETY: both are on the stack, and the helper checks the address that it reads.
    unsafe { bpf_probe_read_kernel(walk.cast(), size, (&raw const *now).cast()) };
}

/// Takes one step: walks into the table of an entry, or past the memory of the entry. Returns 1 at
/// the end of the walk.
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
    let tables = unsafe { core::ptr::read_volatile(&raw const PAGE_TABLES) };
    if walk.at >= walk.end || !tables.is_known() {
        return true;
    }
    if walk.level == UNKNOWN_LEVEL {
        (walk.table, walk.level) = (walk.root, tables.levels);
    }
    let shift = (u64::from(memory::PAGE_SHIFT) + INDEX_BITS * (walk.level - 1)) & 63;
    let beside = (1_u64 << shift) - 1;
    let index = (walk.at >> shift) & LAST_INDEX;
    let Some(mut entry) = read::<u64>((walk.table + index * 8) as Object, 0) else { return true };
    let is_last = walk.level == 1 || entry & LARGE != 0;
    if entry & PRESENT != 0 && !is_last {
        walk.table = tables.direct_map + (entry & FRAME);
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
        let range = Range { start, end };
        let is_canary = memory::is_inner_canary(&range);
        let is_writable = !rules::refuses(path::OPEN) && memory::is_writable(&range);
        let is_left = is_canary || walk.is_dev_mem == 0 || is_writable;
        let is_guarded = memory::is_protected(start, end) || !is_left;
        if is_guarded || is_canary {
            (walk.start, walk.bytes, walk.is_guarded) = (start, bytes, is_guarded.into());
        }
        if is_guarded {
            return true;
        }
    }
    walk.at = next;
    if index == LAST_INDEX {
        walk.level = UNKNOWN_LEVEL;
    }
    false
}
