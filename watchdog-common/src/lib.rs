//! Types on the wire between the watchdog and its eBPF programs.
//!
//! Both sides compile these. Layouts are fixed: `repr(C)`, no padding, plain integers. An assertion
//! next to each type proves that its size is the sum of its fields.
#![no_std]

pub mod action;
mod attempt;
pub mod bpf_use;
mod dma_devices;
mod file_key;
pub mod file_kind;
mod foreign_program;
mod lease;
pub mod object_kind;
mod offsets;
pub mod path;
pub mod peer;
#[cfg(feature = "user")]
mod pod;
mod range;
mod rules;
pub mod self_act;
mod shared_frames;
mod state;

pub use attempt::{Attempt, EXE_NAME_BYTES, EXE_NAMES};
pub use dma_devices::DmaDevices;
pub use file_key::{FileKey, SIEVED};
pub use foreign_program::ForeignProgram;
pub use lease::{LEASE_RANGES, LEASE_RECORD_BYTES, Lease, phase, role};
pub use offsets::{Field, ITSELF, MISSING, Offsets, Presence};
pub use range::Range;
pub use rules::{
    ENUM_VALUES, HELPERS, MAX_RANGES, MAX_WRITABLE, PATHS, PROCESSOR_WORDS, Rules, SCHEDULERS,
};
pub use shared_frames::{PAGE_STRUCT, PageTables, SharedFrames};
pub use state::{RECORD_BYTES, State};
