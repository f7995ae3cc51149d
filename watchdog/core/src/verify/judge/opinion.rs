//! What is thought of a text.

use std::collections::BTreeMap;

use super::mechanism::Mechanism;
use super::page::Wrong;
use super::tracing::Cause;

/// What is thought of a text.
#[derive(Clone, Debug, Default)]
pub struct Opinion {
    /// Sites that are not as linked and that closed tables explain, by mechanism.
    pub patched: BTreeMap<Mechanism, u32>,
    /// Who else changed the text, each with the number of places.
    pub causes: Vec<(Cause, u32)>,
    /// The places of those: image offset, bytes, which of `causes`.
    pub instrumented: Vec<(u32, u32, usize)>,
    /// What nothing explains, ascending.
    pub wrong: Vec<Wrong>,
    /// Pages that are not as linked.
    pub pages_differing: usize,
}
