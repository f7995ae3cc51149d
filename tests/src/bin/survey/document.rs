//! The part of docs/kernels.md that the survey writes.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use watchdog_tests::cache;

/// The lines around the part.
const BEGIN: &str = "<!-- begin: written by `cargo xtask survey` -->\n";
const END: &str = "<!-- end -->\n";

fn file() -> PathBuf {
    cache::project_root().join("docs/kernels.md")
}

/// Replaces the part by new tables.
pub(crate) fn write(tables: &str) -> Result<()> {
    let text = fs::read_to_string(file())?;
    fs::write(file(), replaced(&text, tables)?)?;
    Ok(())
}

fn replaced(text: &str, tables: &str) -> Result<String> {
    let lines = "docs/kernels.md has lost the lines between which the survey writes";
    let (before, rest) = text.split_once(BEGIN).context(lines)?;
    let (_old, after) = rest.split_once(END).context(lines)?;
    Ok(format!(
        "{before}{BEGIN}\n{}\n{END}{after}",
        tables.trim_end_matches('\n').to_owned() + "\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that the document has the lines, and that nothing outside of them changes.
    #[test]
    fn part_is_replaced() {
        let text = fs::read_to_string(file()).expect("the document");
        let changed = replaced(&text, "new\n").expect("both lines");
        let (before, _) = text.split_once(BEGIN).expect("the first line");
        let (_, after) = text.split_once(END).expect("the last line");
        assert_eq!(changed, format!("{before}{BEGIN}\nnew\n\n{END}{after}"));
        assert!(replaced("no lines", "new").is_err());
    }
}
