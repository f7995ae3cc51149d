//! Whether kernel text is what it should be: baselines, page digests, differences.

mod baseline;
mod difference;
mod digest;
mod measure;
mod store;
mod sweep;
mod verdict;

pub use baseline::{Baseline, BaselineKind, Identity};
pub use difference::{Difference, Judgement};
pub use digest::Digest;
pub use measure::{MeasureError, TextCopy, copy_text};
pub use store::{BaselineStore, StoreError};
pub use sweep::{Sweep, sweep};
pub use verdict::Verdict;
