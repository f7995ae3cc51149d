//! The registers with which the current task entered the kernel: a system call's arguments. Other
//! threads of the process cannot change them.

use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs};

use crate::kernel::{self, Object};
use crate::memory::PAGE_SHIFT;

/// The system calls that programs recognize.
pub(crate) enum Entry {
    /// `mmap(addr, len, prot, flags, fd, off)`, and `mmap2` with pages for bytes.
    Mmap { bytes: u64, pgoff: u64 },
    /// `remap_file_pages(start, size, prot, pgoff, flags)`.
    RemapFilePages { bytes: u64, pgoff: u64 },
    /// `mprotect(start, len, prot)` and `pkey_mprotect`.
    Mprotect { at: u64, bytes: u64 },
    /// `kexec_load(entry, nr_segments, segments, flags)`.
    Kexec { count: u64, at: u64 },
}

/// Byte offsets into `struct pt_regs` (arch/x86/include/uapi/asm/ptrace.h: fixed).
const BP: u32 = 32;
const BX: u32 = 40;
const R10: u32 = 56;
const R9: u32 = 64;
const CX: u32 = 88;
const SI: u32 = 104;
const DX: u32 = 96;
const DI: u32 = 112;
const ORIG_AX: u32 = 120;

/// System call numbers (arch/x86/entry/syscalls). In the other table, none of these numbers is a
/// call that reaches the hooks. So the number alone is enough, although `int 0x80` works in a
/// 64-bit process too.
mod number {
    pub(super) const MMAP: u64 = 9;
    pub(super) const REMAP_FILE_PAGES: u64 = 216;
    pub(super) const MPROTECT: u64 = 10;
    pub(super) const PKEY_MPROTECT: u64 = 329;
    pub(super) const KEXEC_LOAD: u64 = 246;
    pub(super) const MMAP_32: u64 = 192;
    pub(super) const REMAP_FILE_PAGES_32: u64 = 257;
    pub(super) const MPROTECT_32: u64 = 125;
    pub(super) const PKEY_MPROTECT_32: u64 = 380;
    /// `__X32_SYSCALL_BIT`.
    pub(super) const X32: u64 = 0x4000_0000;
}

/// The current system call, if it is one of [`Entry`].
#[inline(always)]
pub(crate) fn current() -> Option<Entry> {
    // SAFETY: the helpers take and return kernel objects; the kernel checks the reads below.
    let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as Object;
    let read = |offset: u32| kernel::read::<u64>(registers, offset);
    match read(ORIG_AX)? & 0xffff_ffff & !number::X32 {
        number::MMAP => Some(Entry::Mmap { bytes: read(SI)?, pgoff: read(R9)? >> PAGE_SHIFT }),
        number::MMAP_32 => {
            Some(Entry::Mmap { bytes: read(CX)? & 0xffff_ffff, pgoff: read(BP)? & 0xffff_ffff })
        }
        number::REMAP_FILE_PAGES => {
            Some(Entry::RemapFilePages { bytes: read(SI)?, pgoff: read(R10)? })
        }
        number::REMAP_FILE_PAGES_32 => Some(Entry::RemapFilePages {
            bytes: read(CX)? & 0xffff_ffff,
            pgoff: read(SI)? & 0xffff_ffff,
        }),
        number::MPROTECT | number::PKEY_MPROTECT => {
            Some(Entry::Mprotect { at: read(DI)?, bytes: read(SI)? })
        }
        number::MPROTECT_32 | number::PKEY_MPROTECT_32 => {
            Some(Entry::Mprotect { at: read(BX)? & 0xffff_ffff, bytes: read(CX)? & 0xffff_ffff })
        }
        number::KEXEC_LOAD => Some(Entry::Kexec { count: read(SI)?, at: read(DX)? }),
        _ => None,
    }
}
