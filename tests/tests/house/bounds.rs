//! The table of bounds on hostile memory (docs/bounds.md): its files and constants must exist.

use std::fs;
use std::path::Path;

use crate::all_source;

/// Folders in which the table's files are.
const FOLDERS: [&str; 3] = ["watchdog/core/src", "watchdog/core/src/verify", "watchdog/src"];

/// Returns the errors in the table: malformed rows, and files or constants that do not exist.
pub(crate) fn wrong(root: &Path) -> Vec<String> {
    let table = fs::read_to_string(root.join("docs/bounds.md")).expect("the table");
    let source: String =
        ["watchdog/core/src", "watchdog/src"].iter().map(|it| all_source(&root.join(it))).collect();
    let mut wrong = Vec::new();
    let mut constants = 0;
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = row.split('|').map(str::trim).skip(1);
        let (Some(place), Some(_), Some(bound)) = (cells.next(), cells.next(), cells.next()) else {
            wrong.push(format!("a row without three cells: {row}"));
            continue;
        };
        let file = place.split('`').nth(1).unwrap_or_default();
        if FOLDERS.iter().all(|folder| !root.join(folder).join(file).exists()) {
            wrong.push(format!("{file} is not there"));
        }
        for name in bound.split('`').skip(1).step_by(2).filter(|it| is_constant(it)) {
            constants += 1;
            if !source.contains(&format!("const {name}:")) {
                wrong.push(format!("{file}: there is no constant {name}"));
            }
        }
    }
    assert!(constants > 50, "only {constants} constants were found in the table");
    wrong
}

fn is_constant(word: &str) -> bool {
    word.len() > 2 && word.chars().all(|it| it.is_ascii_uppercase() || it == '_')
}
