//! The guard: eBPF programs that deny node 0's own writes to other nodes' memory.
//!
//! [`Guard::load`] reads what the kernel offers, plans the guard, loads its programs and attaches
//! them. [`Guard::self_test`] tests every path against a canary or with a harmless call. Without
//! `--degraded`, the watchdog arms the guard only if every path does what its policy says. It
//! repeats the test for as long as it runs. [`Guard::keep`] puts the guard in force: it outlives
//! its process. A guard in force gives way only to a guard that is at least as strict, or to
//! [`InForce::disarm`].

mod armed;
mod attach;
mod attachment;
mod attempt;
mod bpf;
mod bpffs;
mod canary;
mod config;
mod control_groups;
mod coverage;
mod dma_devices;
mod error;
mod event;
mod facts;
mod fit;
mod foreign;
mod frames;
mod guard;
mod holders;
mod in_force;
mod kept;
mod kernel_enums;
mod lease;
mod lease_client;
mod loaded;
mod outcome;
mod paths;
mod pinned;
mod pins;
mod plan;
mod policies;
mod policy;
mod preflight;
mod processes;
mod processors;
mod program;
mod programs;
mod reader;
mod record;
mod recursion_misses;
mod release;
mod reported;
mod reports;
pub mod role;
mod rules;
mod search_schedule;
mod self_probes;
mod self_protection;
mod self_test;
mod settings;
mod stale_access;

pub use attempt::{Attacker, WriteAttempt};
pub use bpffs::PinError;
pub use canary::CanaryError;
pub use config::GuardConfig;
pub use coverage::{Coverage, CoverageRow, Covered};
pub use error::{GuardError, InForceError};
pub use event::GuardEvent;
pub use fit::Fit;
pub use guard::Guard;
pub use in_force::{InForce, is_hidden};
pub use lease::{LONGEST_LEASE, LeaseError, LeaseState, LeaseTable, LeaseTerms};
pub use paths::WritePath;
pub use policies::Policies;
pub use policy::{Policy, Preset};
pub use preflight::PreflightError;
pub use processes::{enter_first_mounts, this_program};
pub use processors::Processors;
pub use reader::{Diverted, JournalReader};
pub use record::{Record, RecordError};
pub use release::{Refusal, Release, hash};
pub use reported::ReportedCounts;
pub use settings::Settings;
