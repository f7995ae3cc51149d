//! Common parts of iterator programs. The kernel runs such a program for one object at a time, and
//! the program writes entries for the reader of the list (kernel/bpf/bpf_iter.c, 6.1 to 7.2).

use aya_ebpf::bindings::seq_file;
use aya_ebpf::helpers::generated::bpf_seq_write;

/// The beginning of `struct bpf_iter_meta` (include/linux/bpf.h).
#[repr(C)]
pub(crate) struct Meta {
    seq: *mut seq_file,
}

/// Writes an entry of the list. If there is no room, the kernel runs the program again with the
/// same object.
///
/// # Safety
/// `meta` must be the program's own, and `T` a plain structure without padding.
#[inline(always)]
pub(crate) unsafe fn write<T>(meta: *const Meta, entry: &T) {
    let size = size_of::<T>() as u32;
    // SAFETY: the caller answers for it.
    unsafe { bpf_seq_write((*meta).seq, (&raw const *entry).cast(), size) };
}
