//! Reading kernel memory: at the offsets that BTF gave, and nowhere unchecked.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_probe_read_kernel;
use watchdog_common::Offsets;

/// Filled in by the loader and frozen.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets::ZERO;

/// A pointer to something in the kernel, or null.
pub(crate) type Object = *const c_void;

/// One offset of the table. Read as volatile, or the compiler would fold in the zeroes above; and
/// by itself, since the whole table would be copied: the verifier knows what a frozen table has,
/// and puts the number in its place.
macro_rules! offset {
    ($field:ident) => {
        $crate::kernel::word_at(core::mem::offset_of!(watchdog_common::Offsets, $field))
    };
}
pub(crate) use offset;

/// One word of the table; for [`offset`].
#[inline(always)]
pub(crate) fn word_at(byte: usize) -> u32 {
    // SAFETY: inside of a static of this program, all of whose fields are words.
    unsafe { core::ptr::read_volatile((&raw const OFFSETS).byte_add(byte).cast::<u32>()) }
}

/// Reads `offset` bytes behind an address; `None` for null, and where the kernel cannot read.
#[inline(always)]
pub(crate) fn read<T>(object: Object, offset: u32) -> Option<T> {
    if object.is_null() {
        return None;
    }
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(object.byte_add(offset as usize).cast::<T>()) }.ok()
}
