//! The offsets of fields by an image's debug information (DWARF 4 and 5), for a kernel without BTF.
//!
//! Only the structures in [`WANTED`] are looked for. The search goes from unit to unit, and ends
//! when it has seen all of them, or when its budget is spent. The image may be damaged: every bound
//! is checked, and a part that cannot be read is left out.

mod fields;
#[cfg(test)]
pub(crate) mod made_up;
mod sections;
mod unit;

pub use fields::{Fields, WANTED};
pub use sections::Sections;
