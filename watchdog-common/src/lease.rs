//! Leases, as the kernel keeps them.

use crate::{FileKey, Range};

/// Ranges that a lease can have.
pub const LEASE_RANGES: usize = 8;
/// Bytes of [`Lease`] that programs do not look at.
pub const LEASE_RECORD_BYTES: usize = 4096;

/// A process's role, by what its address space executed last: values of the table of address
/// spaces. Each lease has a number of its own behind these.
pub mod role {
    /// It runs the watchdog.
    pub const WATCHDOG: u32 = 1;
    /// The number of the first lease.
    pub const FIRST_LEASE: u32 = 2;
}

/// Leave for one executable to write one node's memory for some time, or what is asked for.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Lease {
    /// When it ends, in nanoseconds of `CLOCK_BOOTTIME`; 0 for one that is not in force.
    pub until: u64,
    /// The executable; nobody may write it as long as it is named here.
    pub exe: FileKey,
    /// What may be written; unused places are empty.
    pub ranges: [Range; LEASE_RANGES],
    /// The role of its holder; 0 where there never was a lease.
    pub number: u32,
    /// The process whose next open for reading names the executable; 0 for none.
    pub registrar: u32,
    /// How many bytes of the record are used.
    pub length: u32,
    /// Always 0.
    pub reserved: u32,
    /// Who asked for what, and the answer: JSON.
    pub record: [u8; LEASE_RECORD_BYTES],
}

impl Lease {
    /// None.
    pub const NONE: Self = Self {
        until: 0,
        exe: FileKey { device: 0, inode: 0 },
        ranges: [Range { start: 0, end: 0 }; LEASE_RANGES],
        number: 0,
        registrar: 0,
        length: 0,
        reserved: 0,
        record: [0; LEASE_RECORD_BYTES],
    };
}

const _: () = assert!(size_of::<Lease>() == 8 + 16 + LEASE_RANGES * 16 + 16 + LEASE_RECORD_BYTES);
