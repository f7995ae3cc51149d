//! Reads kernel memory: at offsets from BTF, and always with checks.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_probe_read_kernel;
use watchdog_common::Offsets;

/// Filled in by the loader and frozen.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets::ZERO;

/// A pointer to a kernel object, or null.
pub(crate) type Object = *const c_void;

/// One offset of the table. The read is volatile because the compiler would otherwise use the
/// zeroes above. It reads one word because a read of the whole table would copy it. The verifier
/// knows the content of a frozen table, and replaces the read by the number.
macro_rules! offset {
    ($field:ident) => {
        $crate::kernel::word_at(core::mem::offset_of!(watchdog_common::Offsets, $field))
    };
}
pub(crate) use offset;

/// One word of the table, for [`offset`].
#[inline(always)]
pub(crate) fn word_at(byte: usize) -> u32 {
    // SAFETY: inside a static of this program, and all its fields are words.
    unsafe { core::ptr::read_volatile((&raw const OFFSETS).byte_add(byte).cast::<u32>()) }
}

/// Reads a value `offset` bytes after an address; `None` for null, or if the kernel cannot read it.
#[inline(always)]
pub(crate) fn read<T>(object: Object, offset: u32) -> Option<T> {
    if object.is_null() {
        return None;
    }
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(object.byte_add(offset as usize).cast::<T>()) }.ok()
}
