//! The rules of the programs.

use crate::{Range, action, path};

/// The largest number of ranges that the guard protects.
pub const MAX_RANGES: usize = 64;
/// The largest number of ranges that may be written through `/dev/mem`.
pub const MAX_WRITABLE: usize = 8;
/// The number of values of a kernel enumeration in a table of [`Rules`].
pub const ENUM_VALUES: usize = 64;
/// Words of a set of processors, by number. No x86-64 kernel has more (`NR_CPUS_RANGE_END`).
pub const PROCESSOR_WORDS: usize = 8192 / 64;
/// Helpers and kernel functions that the guard looks for in programs.
pub const HELPERS: usize = 5;
/// Structures with which a program schedules processes.
pub const SCHEDULERS: usize = 2;
/// Entries of a table indexed by [`path`]: a multiple of eight, so that there is no padding.
pub const PATHS: usize = (path::COUNT as usize).next_multiple_of(8);

/// What the programs protect, and from which processes. Frozen once the programs are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Rules {
    /// The other nodes' memory. Unused entries are empty.
    pub ranges: [Range; MAX_RANGES],
    /// Memory that may be written through `/dev/mem`. None of it is in `ranges`. Unused entries are
    /// empty.
    pub writable: [Range; MAX_WRITABLE],
    /// Processors that may be started, one bit each.
    pub processors: [u64; PROCESSOR_WORDS],
    /// A range in which the watchdog itself attempts accesses that must be denied.
    pub canary: Range,
    /// Another such range, which only programs that cannot deny treat as protected. No other
    /// program denies the watchdog's attempt there before it reaches them.
    pub inner_canary: Range,
    /// The watchdog's process (thread group) id. No process may stop it.
    pub watchdog: u32,
    /// Not 0: LSM programs fire. Without them no process is trusted by its executable, and no mount
    /// can be protected.
    pub has_lsm: u32,
    /// The inode number of the mount namespace of process 1, whose mounts are protected. Unused
    /// without LSM programs.
    pub init_mnt_ns: u32,
    /// One of [`action`] for each [`path`].
    pub policy: [u8; PATHS],
    /// The [`path`] that each value of `enum lockdown_reason` belongs to, or [`Rules::NO_ENTRY`].
    pub lockdown: [u8; ENUM_VALUES],
    /// The same for `enum kernel_read_file_id`.
    pub read_file: [u8; ENUM_VALUES],
    /// The same for `enum kernel_load_data_id`.
    pub load_data: [u8; ENUM_VALUES],
    /// One of [`bpf_use`](crate::bpf_use) for each value of `enum bpf_prog_type`, or
    /// [`Rules::NO_ENTRY`].
    pub program_types: [u8; ENUM_VALUES],
    /// The same for `enum bpf_attach_type`.
    pub attach_types: [u8; ENUM_VALUES],
    /// The number in an instruction that calls each helper: the helper's address minus the address
    /// of `__bpf_call_base`. Unused entries are [`Rules::NO_HELPER`].
    pub helpers: [i32; HELPERS],
    /// The BTF type ids of the structures with which a program schedules processes, or
    /// [`Rules::NO_TYPE`].
    pub schedulers: [u32; SCHEDULERS],
}

impl Rules {
    /// The entry for an irrelevant value in the table of an enumeration. No path and no use of BPF
    /// has this number.
    pub const NO_ENTRY: u8 = 0;
    /// An unused entry among the helpers. No helper is `__bpf_call_base` itself.
    pub const NO_HELPER: i32 = 0;
    /// A structure that this kernel does not have. In BTF this number is `void`.
    pub const NO_TYPE: u32 = 0;

    /// Rules that protect nothing.
    pub const EMPTY: Self = Self {
        ranges: [Range::EMPTY; MAX_RANGES],
        writable: [Range::EMPTY; MAX_WRITABLE],
        processors: [0; PROCESSOR_WORDS],
        canary: Range::EMPTY,
        inner_canary: Range::EMPTY,
        watchdog: 0,
        has_lsm: 0,
        init_mnt_ns: 0,
        policy: [action::OFF; PATHS],
        lockdown: [Self::NO_ENTRY; ENUM_VALUES],
        read_file: [Self::NO_ENTRY; ENUM_VALUES],
        load_data: [Self::NO_ENTRY; ENUM_VALUES],
        program_types: [Self::NO_ENTRY; ENUM_VALUES],
        attach_types: [Self::NO_ENTRY; ENUM_VALUES],
        helpers: [Self::NO_HELPER; HELPERS],
        schedulers: [Self::NO_TYPE; SCHEDULERS],
    };
}

const _: () = {
    assert!(
        size_of::<Rules>()
            == (MAX_RANGES + MAX_WRITABLE) * 16
                + PROCESSOR_WORDS * 8
                + 32
                + 12
                + PATHS
                + 5 * ENUM_VALUES
                + (HELPERS + SCHEDULERS) * 4
    );
    assert!(PATHS >= path::COUNT as usize);
};
