//! The judgement of a text.

use std::collections::BTreeMap;

use super::mechanism::Mechanism;
use super::page::Wrong;
use super::tracing::Cause;

/// The judgement of a text.
#[derive(Clone, Debug, Default)]
pub struct Opinion {
    /// Number of sites that are not as linked but that closed tables explain, by mechanism.
    pub patched: BTreeMap<Mechanism, u32>,
    /// The causes of all other explained changes, each with its number of places.
    pub causes: Vec<(Cause, u32)>,
    /// The places of these causes: image offset, bytes, index in `causes`.
    pub instrumented: Vec<(u32, u32, usize)>,
    /// Unexplained places, ascending.
    pub wrong: Vec<Wrong>,
    /// Pages that are not as linked.
    pub pages_differing: usize,
}
