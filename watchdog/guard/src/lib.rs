//! The guard: eBPF programs that deny node 0's own writes to other nodes' memory.
//!
//! [`Guard::load`] checks what the kernel offers, loads and attaches; [`Guard::prove`] tries each
//! forbidden thing on a decoy. The guard is armed only when every path was seen to be dealt with as
//! policy says, and the proof is repeated for as long as it runs. [`Guard::keep`] puts it in force
//! for good: it outlives its process, and gives way only to one that is at least as strict, or to
//! [`InForce::disarm`].

mod ask;
mod attach;
mod attempt;
mod bpf;
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
mod load;
mod missed;
mod own;
mod paths;
mod pinned;
mod pins;
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

pub use ask::LeaseError;
pub use attempt::{Attacker, WriteAttempt};
pub use coverage::{Coverage, Outcome, PathProof, PathReport};
pub use decoy::DecoyError;
pub use error::GuardError;
pub use event::GuardEvent;
pub use in_force::{InForce, InForceError, is_hidden};
pub use lease::{LONGEST_LEASE, LeaseState, LeaseTable, LeaseTerms};
pub use load::{Guard, GuardConfig};
pub use paths::WritePath;
pub use pins::PinError;
pub use policy::{Policies, Policy, Preset};
pub use preflight::PreflightError;
pub use processes::{enter_first_mounts, this_program};
pub use processors::Processors;
pub use reader::{Diverted, JournalReader};
pub use record::{Record, RecordError};
pub use release::{Refusal, Release, check_hash, hash};
pub use reported::ReportedCounts;
pub use settings::Settings;
