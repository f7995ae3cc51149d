//! The structures of a kernel's lists that neither the kernel nor its image describes.

use std::io::{self, Write};

use super::report::row;

/// Prints one row that says where the layout of the structures with these names comes from.
pub(super) fn print(out: &mut dyn Write, structures: &[&str]) -> io::Result<()> {
    if structures.is_empty() {
        return Ok(());
    }
    let structures: Vec<_> = structures.iter().map(|name| format!("`struct {name}`")).collect();
    let structures = structures.join(", ");
    let value = format!("by what fits the kernel's lists, not by type information: {structures}");
    row(out, "layouts", &value)
}
