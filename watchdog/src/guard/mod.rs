//! The guard: eBPF programs that deny node 0's own writes to other nodes' memory.
//!
//! [`Guard::load`] checks what the kernel offers, loads and attaches; [`Guard::prove`] tries each
//! forbidden thing on a decoy. The guard is armed only when every path was seen to be dealt with as
//! policy says, and the proof is repeated for as long as it runs.

mod attach;
mod attempt;
mod coverage;
mod decoy;
mod doors;
mod kinds;
mod load;
mod paths;
mod policy;
mod preflight;
mod programs;
mod proof;
mod stand_in;

pub use attempt::{Attacker, WriteAttempt};
pub use coverage::{Coverage, Outcome, PathProof, PathReport};
pub use decoy::DecoyError;
pub use load::{Guard, GuardConfig, GuardError, GuardEvent};
pub use paths::WritePath;
pub use policy::{Policies, Policy, Preset};
pub use preflight::PreflightError;
