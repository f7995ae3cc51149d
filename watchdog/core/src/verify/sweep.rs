//! The results of a sweep.

use std::collections::BTreeMap;
use std::time::Duration;

use super::judge::{Cause, Mechanism};
use super::not_judged::NotJudged;
use super::rodata::RodataOpinion;
use super::{BaselineKind, Difference, Verdict};
use crate::digest::Digest;

/// The results of a sweep.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// Clean, patched, instrumented, tampered, or unverified if places are undecided.
    pub verdict: Verdict,
    /// The kind of baseline that the text was judged by.
    pub baseline: BaselineKind,
    /// SHA-256 over the text bytes as they were read.
    pub sha256: Digest,
    /// Pages of the text.
    pub pages: usize,
    /// Pages that differ from the baseline.
    pub pages_differing: usize,
    /// Number of sites that are not as linked but that closed tables explain, by mechanism.
    pub sites: BTreeMap<Mechanism, u32>,
    /// What is not judged, and why. It counts neither as explained nor as unexplained.
    pub not_judged: Vec<NotJudged>,
    /// The names of the structures of the kernel's lists that nothing describes, so that the layout
    /// which fits the lists is used.
    pub undescribed: Vec<&'static str>,
    /// The causes of all other explained changes, each with its number of places.
    pub causes: Vec<(Cause, u32)>,
    /// Unexplained places in ascending order, at most as many as the caller asked for.
    pub unexplained: Vec<Difference>,
    /// Number of all unexplained places.
    pub unexplained_total: usize,
    /// The judgement of the kernel's read-only data. Its differences are part of `unexplained`.
    pub rodata: RodataOpinion,
    /// Number of places that are not judged yet. They have not been wrong for long, or contradict
    /// their tables while the kernel is patching itself.
    pub pending: usize,
    /// Number of places that contradict their tables and never will be judged: the kernel was
    /// patching itself when its memory was copied, or when it was stopped. They are part of
    /// `not_judged`, and the verdict is at best unverified.
    pub undecided: usize,
    /// Duration of the sweep.
    pub elapsed: Duration,
}
