//! Leases, as the kernel stores them.

use crate::{FileKey, Range};

/// The largest number of ranges of a lease.
pub const LEASE_RANGES: usize = 8;
/// Bytes of [`Lease`] that programs do not read.
pub const LEASE_RECORD_BYTES: usize = 4096;

/// Roles of a process, by the last execution of its address space: values of the table of address
/// spaces. Each lease has a separate number from [`role::FIRST_LEASE`] on.
pub mod role {
    /// None.
    pub const NONE: u32 = 0;
    /// It runs the watchdog.
    pub const WATCHDOG: u32 = 1;
    /// The number of the first lease.
    pub const FIRST_LEASE: u32 = 2;
}

/// Phases of a lease. The programs only check for [`phase::REGISTERING`] and [`phase::IN_FORCE`].
pub mod phase {
    /// There is none.
    pub const NONE: u32 = 0;
    /// A process requests a lease. The guard registers the executable when that process opens it.
    pub const REGISTERING: u32 = 1;
    /// The terms are complete, and the watchdog has not answered.
    pub const REQUESTED: u32 = 2;
    /// The watchdog refused it.
    pub const REFUSED: u32 = 3;
    /// It is in force until its time is over.
    pub const IN_FORCE: u32 = 4;
    /// It was ended early, and the watchdog has not removed it.
    pub const ENDED: u32 = 5;
}

/// A lease or a request for one: it allows one executable to write one node's memory for some time.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Lease {
    /// When it ends, in nanoseconds of `CLOCK_BOOTTIME`. Valid in [`phase::IN_FORCE`].
    pub until: u64,
    /// The executable, or [`FileKey::NONE`]. No process may write it while it is named here.
    pub exe: FileKey,
    /// The memory that may be written. Unused entries are empty.
    pub ranges: [Range; LEASE_RANGES],
    /// The role of its holder; [`role::NONE`] if there never was a lease. It stays when the lease
    /// is over, so that the next lease gets another number.
    pub number: u32,
    /// The process whose next open for reading names the executable. Valid in
    /// [`phase::REGISTERING`].
    pub registrar: u32,
    /// How many bytes of the record are used.
    pub length: u32,
    /// One of [`phase`].
    pub phase: u32,
    /// The terms, and the reason for a refusal: JSON.
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
