//! BPF programs that are not the guard's.

/// A foreign BPF program that the guard would refuse, as the kernel lists it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ForeignProgram {
    /// Its id.
    pub id: u32,
    /// One of [`bpf_use`](crate::bpf_use).
    pub usage: u32,
    /// The BTF type id of the function that it attaches to; 0 for none.
    pub target: u32,
}

const _: () = assert!(size_of::<ForeignProgram>() == 12);
