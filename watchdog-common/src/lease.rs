//! Leases, as the kernel keeps them.

use crate::{FileKey, Range};

/// Ranges that a lease can have.
pub const LEASE_RANGES: usize = 8;
/// Bytes of [`Lease`] that programs do not look at.
pub const LEASE_RECORD_BYTES: usize = 4096;

/// A process's role, by what its address space executed last: values of the table of address
/// spaces. Each lease has a number of its own behind these.
pub mod role {
    /// None.
    pub const NONE: u32 = 0;
    /// It runs the watchdog.
    pub const WATCHDOG: u32 = 1;
    /// The number of the first lease.
    pub const FIRST_LEASE: u32 = 2;
}

/// How far a lease is. The programs go by [`phase::REGISTERING`] and [`phase::IN_FORCE`] alone.
pub mod phase {
    /// There is none.
    pub const NONE: u32 = 0;
    /// A process asks for one. The guard registers the executable when that process opens it.
    pub const REGISTERING: u32 = 1;
    /// The terms are complete, and the watchdog has not answered.
    pub const REQUESTED: u32 = 2;
    /// The watchdog refused it.
    pub const REFUSED: u32 = 3;
    /// It is in force until its time is over.
    pub const IN_FORCE: u32 = 4;
    /// It was ended before its time, and the watchdog has not removed it.
    pub const ENDED: u32 = 5;
}

/// Leave for one executable to write one node's memory for some time, or what is asked for.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Lease {
    /// When it ends, in nanoseconds of `CLOCK_BOOTTIME`; for [`phase::IN_FORCE`].
    pub until: u64,
    /// The executable, which no process may write as long as it is named here; or
    /// [`FileKey::NONE`].
    pub exe: FileKey,
    /// What may be written; unused places are empty.
    pub ranges: [Range; LEASE_RANGES],
    /// The role of its holder. It stays when the lease is over, so that the next one gets another;
    /// [`role::NONE`] where there never was a lease.
    pub number: u32,
    /// The process whose next open for reading names the executable; for [`phase::REGISTERING`].
    pub registrar: u32,
    /// How many bytes of the record are used.
    pub length: u32,
    /// One of [`phase`].
    pub phase: u32,
    /// The terms, and why they were refused: JSON.
    pub record: [u8; LEASE_RECORD_BYTES],
}

impl Lease {
    /// None.
    pub const NONE: Self = Self {
        until: 0,
        exe: FileKey::NONE,
        ranges: [Range::EMPTY; LEASE_RANGES],
        number: role::NONE,
        registrar: 0,
        length: 0,
        phase: phase::NONE,
        record: [0; LEASE_RECORD_BYTES],
    };
}

const _: () = assert!(size_of::<Lease>() == 8 + 16 + LEASE_RANGES * 16 + 16 + LEASE_RECORD_BYTES);
