//! The guard: eBPF programs that deny node 0's own writes to other nodes' memory.
//!
//! [`Guard::load`] checks what the kernel offers, loads and attaches; [`Guard::prove`] tries each
//! forbidden thing on a decoy. The guard is armed only when every path was seen to be dealt with as
//! policy says, and the proof is repeated for as long as it runs. [`Guard::keep`] puts it in force
//! for good: it outlives its process, and gives way only to one that is at least as strict, or to
//! [`InForce::disarm`].

mod attach;
mod attempt;
mod bpf;
mod bpffs;
mod config;
mod control_groups;
mod coverage;
mod decoy;
mod doors;
mod error;
mod event;
mod foreign;
mod frames;
mod held;
mod holders;
mod in_force;
mod kinds;
mod lease;
mod lease_client;
mod load;
mod missed;
mod own;
mod paths;
mod pinned;
mod pins;
mod policies;
mod policy;
mod preflight;
mod processes;
mod processors;
mod programs;
mod proof;
mod reader;
mod record;
mod release;
mod reported;
pub mod role;
mod rules;
mod settings;
mod stand_in;

pub use attempt::{Attacker, WriteAttempt};
pub use bpffs::PinError;
pub use config::GuardConfig;
pub use coverage::{Coverage, Outcome, PathProof, PathReport};
pub use decoy::DecoyError;
pub use error::{GuardError, InForceError};
pub use event::GuardEvent;
pub use in_force::{InForce, is_hidden};
pub use lease::{LONGEST_LEASE, LeaseError, LeaseState, LeaseTable, LeaseTerms};
pub use load::Guard;
pub use paths::WritePath;
pub use policies::Policies;
pub use policy::{Policy, Preset};
pub use preflight::PreflightError;
pub use processes::{enter_first_mounts, this_program};
pub use processors::Processors;
pub use reader::{Diverted, JournalReader};
pub use record::{Record, RecordError};
pub use release::{Refusal, Release, check_hash, hash};
pub use reported::ReportedCounts;
pub use settings::Settings;
