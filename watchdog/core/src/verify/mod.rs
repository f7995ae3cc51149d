//! Verification of kernel text: baselines, sweeps, judgements and verdicts.

mod baseline;
mod difference;
mod disassembly;
mod explain;
mod instruction;
pub mod judge;
mod key;
#[cfg(test)]
mod made_up;
mod measure;
mod not_judged;
mod patching;
pub mod reference;
#[cfg(test)]
mod rest_tests;
mod rodata;
mod round;
mod store;
mod suspects;
mod sweep;
mod verdict;
mod verifier;

pub use baseline::{Baseline, BaselineError, BaselineKind, Identity, ImageSigns, Origin};
pub use difference::{Difference, Judgement};
pub use key::BaselineKey;
pub use measure::{MeasureError, TextCopy, copy_text};
pub use not_judged::NotJudged;
pub use rodata::RodataOpinion;
pub use store::{BaselineStore, StoreError};
pub use sweep::Sweep;
pub use verdict::Verdict;
pub use verifier::Verifier;
