//! No line of a source or document is longer than 100 columns, except a table row of a document,
//! which must be one line.

use std::fs;
use std::path::{Path, PathBuf};

/// Maximum columns of a line.
const LONGEST: usize = 100;
/// Files that people write, by the end of the name.
const ENDS: [&str; 7] = [".rs", ".md", ".toml", ".service", ".catalog", ".sh", ".ci/run"];
/// Folders with built, downloaded or generated files.
const LEFT_OUT: [&str; 4] = ["target", ".cache", ".git", "seeds"];

/// Returns every line that is too long, with its place.
pub(crate) fn too_long(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for file in files(folder) {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let is_table = |line: &str| {
            let row = line.trim_start().trim_start_matches("//!").trim_start();
            row.starts_with('|')
        };
        for (n, line) in text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > LONGEST && !is_table(line) {
                found.push(format!("{}:{}: {columns} columns", file.display(), n + 1));
            }
        }
    }
    found
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        // A link may lead out of the tree, so links are not followed.
        let kind = entry.file_type().expect("a type");
        if kind.is_dir() && !LEFT_OUT.contains(&&*name) {
            found.extend(files(&path));
        } else if kind.is_file() && ENDS.iter().any(|end| path.to_string_lossy().ends_with(end)) {
            found.push(path);
        }
    }
    found
}
