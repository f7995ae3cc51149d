//! The judgement of a text.

use std::collections::BTreeMap;

use super::mechanism::Mechanism;
use super::page::Wrong;
use super::tracing::Cause;
use crate::verify::not_judged;

/// The judgement of a text.
#[derive(Clone, Debug, Default)]
pub struct Opinion {
    /// Number of sites that are not as linked but that closed tables explain, by mechanism.
    pub patched: BTreeMap<Mechanism, u32>,
    /// The causes of all other explained changes, each with its number of places.
    pub causes: Vec<(Cause, u32)>,
    /// The places of these causes: image offset, bytes, index in `causes`.
    pub instrumented: Vec<(u32, u32, usize)>,
    /// Number of sites that are not judged, by mechanism and reason.
    pub(in crate::verify) not_judged: not_judged::Counts,
    /// The places of these sites: image offset, bytes, mechanism, reason.
    pub(in crate::verify) not_judged_places: Vec<(u32, u32, Mechanism, &'static str)>,
    /// Unexplained places, ascending.
    pub wrong: Vec<Wrong>,
    /// Pages that are not as linked.
    pub pages_differing: usize,
}

impl Opinion {
    /// Adds a site that is not judged.
    pub(in crate::verify) fn not_judge(
        &mut self,
        at: u32,
        length: u32,
        mechanism: Mechanism,
        why: &'static str,
    ) {
        let count = self.not_judged.entry((mechanism, why)).or_default();
        *count = count.saturating_add(1);
        self.not_judged_places.push((at, length, mechanism, why));
    }
}
