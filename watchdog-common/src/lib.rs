//! Types on the wire between the watchdog and its eBPF programs.
//!
//! Both sides compile these; layouts are fixed (`repr(C)`, no padding, plain integers) and proven
//! below.
#![no_std]

mod lease;
mod offsets;

pub use lease::{LEASE_RANGES, LEASE_RECORD_BYTES, Lease, phase, role};
pub use offsets::Offsets;

/// Ranges the guard can hold.
pub const MAX_RANGES: usize = 64;

/// Ways to write to physical memory, as they are counted and reported. The numbers are the rows of
/// reports.
pub mod path {
    /// Opening `/dev/mem` for writing.
    pub const OPEN: u32 = 1;
    /// write(2) and its kin, aio, io_uring.
    pub const WRITE: u32 = 3;
    /// mmap(2), shared and writable.
    pub const MMAP: u32 = 4;
    /// remap_file_pages(2).
    pub const REMAP_FILE_PAGES: u32 = 5;
    /// mprotect(2) of a shared mapping that was read-only.
    pub const MPROTECT: u32 = 6;
    /// Descriptors and mappings from before the guard, or from a lease that is over. No program is
    /// asked about it: they are looked for.
    pub const HELD: u32 = 8;
    /// `/dev/port`, PCI configuration space and BARs.
    pub const PCI: u32 = 9;
    /// A driver maps frames into a process.
    pub const FRAMES: u32 = 10;
    /// A driver maps frames when a process touches them.
    pub const FAULT: u32 = 11;
    /// An IOMMU is told to let a device write: VFIO, iommufd, a driver.
    pub const IOMMU: u32 = 12;
    /// A driver gives a device memory to write.
    pub const DMA: u32 = 13;
    /// Parameters by which a module is told addresses and ports.
    pub const PARAMETERS: u32 = 14;
    /// A module is loaded.
    pub const MODULE: u32 = 16;
    /// The kernel or a module maps memory for itself: ioremap, memremap.
    pub const IOREMAP: u32 = 17;
    /// kexec_load(2) of segments that lie in protected memory.
    pub const KEXEC_SEGMENTS: u32 = 18;
    /// Any kexec, and hibernation.
    pub const KEXEC: u32 = 19;
    /// Memory becomes RAM of this node.
    pub const HOTPLUG: u32 = 20;
    /// Ports, MSRs, ACPI tables and the like.
    pub const LOCKDOWN: u32 = 22;
    /// The guard itself and the watchdog: its objects in the kernel, its files, its process.
    pub const SELF_PROTECTION: u32 = 25;
    /// `kernel.ftrace_enabled`, which switches the guard's own programs off.
    pub const FTRACE: u32 = 26;
    /// BPF programs that can answer in the place of the guard's, or act on the watchdog.
    pub const BPF: u32 = 28;
    /// A processor is started that was not this node's when the guard was armed.
    pub const PROCESSORS: u32 = 29;
    /// BPF programs that trace the kernel.
    pub const TRACING: u32 = 30;
    /// One more than the largest: the size of a table indexed by path.
    pub const COUNT: u32 = 31;
}

/// What is done about a path; also what was done in one case.
pub mod action {
    /// Nothing.
    pub const OFF: u8 = 0;
    /// It is reported.
    pub const OBSERVE: u8 = 1;
    /// It fails with EPERM.
    pub const DENY: u8 = 2;
    /// The process is killed.
    pub const KILL: u8 = 3;
}

/// An act on what belongs to the guard: the detail of an attempt on [`path::SELF_PROTECTION`].
pub mod self_act {
    /// A table of the guard.
    pub const MAP: u32 = 1;
    /// A program of the guard.
    pub const PROGRAM: u32 = 2;
    /// A file or a pin removed.
    pub const UNLINK: u32 = 3;
    /// One renamed, or another put in its place.
    pub const RENAME: u32 = 4;
    /// One made where only the watchdog makes them.
    pub const CREATE: u32 = 5;
    /// One cut short.
    pub const TRUNCATE: u32 = 6;
    /// One opened for writing.
    pub const OPEN: u32 = 7;
    /// The file system with the pins unmounted.
    pub const UNMOUNT: u32 = 8;
    /// A signal to the watchdog.
    pub const SIGNAL: u32 = 9;
    /// The watchdog traced, or its memory reached for.
    pub const TRACE: u32 = 10;
    /// The watchdog's limits or scheduling changed.
    pub const LIMIT: u32 = 11;
    /// The watchdog's control group: stopped, killed or starved by it.
    pub const CGROUP: u32 = 12;
    /// A file system mounted over what is protected, or the pins moved.
    pub const MOUNT: u32 = 13;
    /// Mode or owner of a file changed.
    pub const MODE: u32 = 14;
    /// One of the watchdog's files below `/proc` opened for writing.
    pub const PROC: u32 = 15;
}

/// What is known of the socket that a thread of the watchdog sent to last: its number, or
/// [`peer::NONE`].
pub mod peer {
    /// With the number: a filter, or a program by a map of sockets, is asked before anything is
    /// received.
    pub const FILTERED: u64 = 1 << 63;
    /// The watchdog's own word for: none since it looked last.
    pub const NONE: u64 = u64::MAX;
}

/// What makes a BPF program one that the guard refuses: the detail of an attempt on [`path::BPF`]
/// or [`path::TRACING`], and values of [`Rules`]' tables of program types and attach types.
pub mod bpf_use {
    /// Nothing: the guard lets it be.
    pub const NONE: u32 = 0;
    /// It replaces what a kernel function returns (`BPF_MODIFY_RETURN`).
    pub const MODIFY_RETURN: u32 = 1;
    /// It answers for security modules (`BPF_PROG_TYPE_LSM`).
    pub const LSM: u32 = 2;
    /// It replaces part of another program (`BPF_PROG_TYPE_EXT`).
    pub const EXTENSION: u32 = 3;
    /// It answers for settings, `kernel.ftrace_enabled` among them.
    pub const SETTINGS: u32 = 4;
    /// It schedules processes (`sched_ext`).
    pub const SCHEDULER: u32 = 5;
    /// It redirects what goes over Unix sockets, alerts among it.
    pub const SOCKETS: u32 = 6;
    /// It calls a helper that sends signals, writes a process's memory or answers system calls.
    pub const HELPER: u32 = 7;
    /// It changes a process's registers at a uprobe (6.18).
    pub const REGISTERS: u32 = 8;
    /// It traces: the only one of [`super::path::TRACING`].
    pub const TRACING: u32 = 9;
}

/// What a file or folder is to the guard: values of its table of files.
pub mod file_kind {
    /// Nothing.
    pub const NONE: u32 = 0;
    /// The watchdog's executable: who runs it may do what others may not.
    pub const EXECUTABLE: u32 = 1;
    /// A folder of pins.
    pub const PINS: u32 = 2;
    /// A file or folder that only the watchdog writes.
    pub const PROTECTED: u32 = 3;
    /// The root of a mount that must stay.
    pub const MOUNT: u32 = 4;
    /// A control group of the watchdog or above it.
    pub const CGROUP: u32 = 5;
    /// A folder above pins or above what only the watchdog writes.
    pub const ABOVE: u32 = 6;
}

/// What a table or program of the guard is to it: values of its tables of ids.
pub mod object_kind {
    /// Only the watchdog gets a descriptor of it.
    pub const PROTECTED: u32 = 1;
    /// The watchdog itself is refused it, as a probe.
    pub const CANARY: u32 = 2;
}

/// A file as the kernel itself tells it from others: the device of its superblock and its inode
/// number. Not what stat(2) says, which on btrfs and overlayfs is another device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FileKey {
    /// `i_sb->s_dev`.
    pub device: u64,
    /// `i_ino`.
    pub inode: u64,
}

/// Places of the sieve before the table of files: a power of two.
pub const SIEVED: usize = 4096;

impl FileKey {
    /// No file, or one whose inode cannot be read: the guard registers no inode number 0.
    pub const NONE: Self = Self { device: 0, inode: 0 };

    /// Whether this is no file.
    #[must_use]
    #[inline(always)]
    pub const fn is_none(&self) -> bool {
        self.inode == 0
    }

    /// Where the sieve has a file: by the last bits of its inode number.
    #[must_use]
    #[inline(always)]
    pub const fn sieved(&self) -> usize {
        self.inode as usize & (SIEVED - 1)
    }
}

/// Bytes of [`State`] that programs do not look at.
pub const RECORD_BYTES: usize = 32 * 1024;

/// The one thing about an armed guard that changes, and the record of it for those that come
/// later. Both are one value of one table: who was shown another record than the guard's own can
/// release nothing but what that record came with.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct State {
    /// Not 0: the guard may be taken down by whoever runs the watchdog's executable.
    pub released: u32,
    /// One of [`file_kind`]: files that the watchdog opens now are of this kind.
    /// [`file_kind::NONE`]: it registers none.
    pub registering: u32,
    /// How many bytes of the record are used.
    pub length: u32,
    /// Not 0: whoever runs the watchdog's executable may open `/dev/mem` for writing, as the next
    /// watchdog does for its self-test.
    pub opens: u32,
    /// The record: JSON.
    pub record: [u8; RECORD_BYTES],
}

/// Bytes of `struct page` (include/linux/mm_types.h) that programs reckon with; the loader checks
/// it.
pub const PAGE_STRUCT: u64 = 64;

/// Values of a kernel enumeration that a table of [`Rules`] holds.
pub const ENUM_VALUES: usize = 64;
/// Ranges that `/dev/mem` may be written at.
pub const MAX_WRITABLE: usize = 8;
/// Words of a set of processors, by number; no x86-64 kernel has more (`NR_CPUS_RANGE_END`).
pub const PROCESSOR_WORDS: usize = 8192 / 64;
/// Helpers and kernel functions that the guard looks for in programs.
pub const HELPERS: usize = 5;
/// Structures by which a program schedules processes.
pub const SCHEDULERS: usize = 2;
/// The offset of nothing: a pointer leads to what is wanted itself.
pub const ITSELF: u32 = u32::MAX;
/// The offset of a field that not every kernel has, where the kernel does not have it. No such
/// field is the first of its structure.
pub const MISSING: u32 = 0;
/// Places in a table indexed by [`path`]: a multiple of four, so that nothing is padded.
pub const PATHS: usize = 32;

/// A physical range: first byte, and first byte behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// First byte behind.
    pub end: u64,
}

impl Range {
    /// No memory.
    pub const EMPTY: Self = Self { start: 0, end: 0 };
}

/// What the programs protect and from whom; frozen once they are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Rules {
    /// The other nodes' memory; unused places are empty.
    pub ranges: [Range; MAX_RANGES],
    /// What may be written by `/dev/mem`: none of it is in `ranges`. Unused places are empty.
    pub writable: [Range; MAX_WRITABLE],
    /// Processors that may be started, a bit each.
    pub processors: [u64; PROCESSOR_WORDS],
    /// A range on which the watchdog itself tries what must be denied.
    pub canary: Range,
    /// Another one, which only programs behind those that deny count as protected: the watchdog
    /// gets as far as them there.
    pub inner_canary: Range,
    /// The watchdog's process (thread group) id, whom nobody may stop.
    pub watchdog: u32,
    /// Not 0: LSM programs fire. Without them no process is trusted by its executable, and nothing
    /// can be kept.
    pub has_lsm: u32,
    /// The inode number of the mount namespace that process 1 is in: its mounts stay. Unused
    /// without LSM programs.
    pub init_mnt_ns: u32,
    /// One of [`action`] for each [`path`].
    pub policy: [u8; PATHS],
    /// The [`path`] that each value of `enum lockdown_reason` belongs to, or [`Rules::NO_ENTRY`].
    pub lockdown: [u8; ENUM_VALUES],
    /// The same of `enum kernel_read_file_id`.
    pub read_file: [u8; ENUM_VALUES],
    /// The same of `enum kernel_load_data_id`.
    pub load_data: [u8; ENUM_VALUES],
    /// One of [`bpf_use`] for each value of `enum bpf_prog_type`, or [`Rules::NO_ENTRY`].
    pub program_types: [u8; ENUM_VALUES],
    /// The same for `enum bpf_attach_type`.
    pub attach_types: [u8; ENUM_VALUES],
    /// What the call of a helper that is looked for has in its instruction: the helper's address
    /// less `__bpf_call_base`'s. Unused places are [`Rules::NO_HELPER`].
    pub helpers: [i32; HELPERS],
    /// The numbers of the structures in the kernel's type information by which a program schedules
    /// processes, or [`Rules::NO_TYPE`].
    pub schedulers: [u32; SCHEDULERS],
}

impl Rules {
    /// What a table of an enumeration has for a value that does not matter: no path and no use of
    /// BPF has this number.
    pub const NO_ENTRY: u8 = 0;
    /// An unused place among the helpers. No helper is `__bpf_call_base` itself.
    pub const NO_HELPER: i32 = 0;
    /// A structure that this kernel does not have: in BTF this number is `void`.
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

/// Numbers of the devices through which a process has an IOMMU map memory, or
/// [`DmaDevices::ABSENT`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct DmaDevices {
    /// Devices: the major number above 20 bits of the minor.
    pub numbers: [u32; 2],
    /// Major numbers, all of whose devices are meant.
    pub majors: [u32; 2],
}

impl DmaDevices {
    /// The number of a device that this kernel does not have: no character device has it.
    pub const ABSENT: u32 = 0;
    /// No device at all.
    pub const NONE: Self = Self { numbers: [Self::ABSENT; 2], majors: [Self::ABSENT; 2] };
}

/// How the kernel's own page tables are found and followed, or [`PageTables::UNKNOWN`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PageTables {
    /// Where the kernel has physical address 0 mapped for itself: a virtual address.
    pub direct_map: u64,
    /// 4 or 5.
    pub levels: u64,
}

impl PageTables {
    /// The kernel does not say: no table can be followed.
    pub const UNKNOWN: Self = Self { direct_map: 0, levels: 0 };

    /// Whether tables can be followed.
    #[must_use]
    #[inline(always)]
    pub const fn is_known(&self) -> bool {
        self.levels != 0
    }
}

/// Guarded frames that a process has mapped to be written, as the kernel lists it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SharedFrames {
    /// The first of them: a physical address.
    pub start: u64,
    /// How many bytes of them follow one another; 0 where the mapping could not be followed.
    pub bytes: u64,
    /// The process.
    pub tgid: u32,
    /// The number of the device's file: the major above 20 bits of the minor.
    pub device: u32,
}

/// A BPF program that is not the guard's and that the guard would refuse, as the kernel lists it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ForeignProgram {
    /// Its id.
    pub id: u32,
    /// One of [`bpf_use`].
    pub usage: u32,
    /// The type of the function that it is made for, as a number of BTF; 0 for none.
    pub target: u32,
}

/// Names of an executable's path that are reported, from the last one up.
pub const EXE_NAMES: usize = 12;
/// Bytes of each, with its NUL.
pub const EXE_NAME_BYTES: usize = 48;

/// An attempt and what was done about it, as it goes through the ring buffer.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Attempt {
    /// Physical memory aimed at; empty when it could not be known, or is not what is judged.
    pub range: Range,
    /// One of [`path`].
    pub path: u32,
    /// What was done: one of [`action`].
    pub action: u32,
    /// Process (thread group) id in the initial pid namespace.
    pub tgid: u32,
    /// Thread id.
    pub tid: u32,
    /// Real user id.
    pub uid: u32,
    /// Process id of the parent.
    pub parent: u32,
    /// More about the path: the value of `enum lockdown_reason`, else 0.
    pub detail: u32,
    /// Task name, NUL-padded.
    pub comm: [u8; 16],
    /// The parent's.
    pub parent_comm: [u8; 16],
    /// Path of the executable within its mount: names from the last one up, each NUL-terminated,
    /// empty ones behind the first.
    pub exe: [[u8; EXE_NAME_BYTES]; EXE_NAMES],
}

// No padding anywhere: each size is the sum of the fields.
const _: () = {
    assert!(size_of::<Range>() == 16);
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
    assert!(size_of::<ForeignProgram>() == 12);
    assert!(PATHS >= path::COUNT as usize);
    assert!(size_of::<DmaDevices>() == 4 * 4);
    assert!(size_of::<PageTables>() == 16);
    assert!(size_of::<SharedFrames>() == 24);
    assert!(size_of::<Offsets>() == 65 * 4);
    assert!(size_of::<FileKey>() == 16);
    assert!(size_of::<State>() == 16 + RECORD_BYTES);
    assert!(size_of::<Lease>() == 8 + 16 + LEASE_RANGES * 16 + 16 + LEASE_RECORD_BYTES);
    assert!(size_of::<Attempt>() == 16 + 32 + 32 + EXE_NAMES * EXE_NAME_BYTES);
};

#[cfg(feature = "user")]
mod user {
    // SAFETY: `repr(C)`, integers only, and no padding (proven by the sizes above).
    unsafe impl aya::Pod for super::Rules {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Offsets {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::FileKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::State {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Lease {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::DmaDevices {}
    // SAFETY: plain integers, no padding.
    unsafe impl aya::Pod for super::PageTables {}
}
