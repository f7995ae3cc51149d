//! Layouts of list entries that neither the kernel nor its image describes.
//!
//! The order of a structure's fields is known from the kernel's sources (5.10 to 7.2). Their
//! offsets depend on the version and on options. A candidate counts only if it fits the kernel's
//! own list: links agree in both directions, code is executable, names can be printed, and pointers
//! of an entry to itself do so. Exactly one candidate must fit all entries that are examined.
//!
//! The list may be forged. It then has a layout that the attacker chose, or none. Neither explains
//! a branch: what an entry leads to is checked as it is in a kernel with type information.

mod fit;
mod list_layouts;
mod modules;
mod probes;
mod programs;
#[cfg(test)]
mod tests;
mod tracers;

pub(super) use fit::{Fit, only};
pub use list_layouts::ListLayouts;
pub(super) use probes::buckets;
