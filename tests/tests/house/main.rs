//! Rules of the source tree.

mod bounds;
mod circles;
mod lines;
mod seen;

use std::fs;
use std::path::Path;

use circles::House;

/// The root files of all crates.
const CRATES: [&str; 7] = [
    "watchdog/core/src/lib.rs",
    "watchdog/guard/src/lib.rs",
    "watchdog/src/lib.rs",
    "watchdog-common/src/lib.rs",
    "watchdog-ebpf/src/main.rs",
    "xtask/src/lib.rs",
    "xtask/src/main.rs",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the project's root")
}

/// Returns the text of all Rust files below a folder.
fn all_source(folder: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.push_str(&all_source(&path));
        } else if path.extension().is_some_and(|it| it == "rs") {
            all.push_str(&fs::read_to_string(&path).unwrap_or_default());
        }
    }
    all
}

/// Check that no files of a crate form a circle. Between crates, Cargo does not allow one.
#[test]
fn no_circle_of_files() {
    let circles: Vec<_> =
        CRATES.iter().flat_map(|file| House::read(&root().join(file)).circles()).collect();
    assert!(circles.is_empty(), "{} circles\n{}", circles.len(), circles.join("\n"));
}

/// Check that circles are found, also through a re-exported name and in files that a macro
/// declares, and that one-way use is not taken for a circle.
#[test]
fn circles_are_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    let put = |file: &str, text: &str| {
        fs::write(folder.path().join(file), text).expect("written");
    };
    let circles = || House::read(&folder.path().join("lib.rs")).circles().len();
    put("lib.rs", "mod one; mod two; pub use two::Two;");
    put("one.rs", "use super::Two; pub struct One(Two);");
    put("two.rs", "pub struct Two;");
    assert_eq!(circles(), 0);
    put("two.rs", "pub struct Two; fn back(_: crate::one::One) {}");
    assert_eq!(circles(), 1);
    // Files that a macro declares.
    fs::create_dir(folder.path().join("many")).expect("a folder");
    put("lib.rs", "mod one; mod two; mod many; pub use two::Two;");
    put("many/mod.rs", "mod known; modules!();");
    put("many/known.rs", "pub struct Known(super::listed::Listed);");
    put("many/listed.rs", "pub struct Listed;");
    assert_eq!(circles(), 1);
    put("many/listed.rs", "pub struct Listed; fn back(_: super::known::Known) {}");
    assert_eq!(circles(), 2);
}

/// Check that no line is longer than 100 columns, and that a longer one is found.
#[test]
fn no_line_is_too_long() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("long.rs"), format!("// {}", "x".repeat(98))).expect("written");
    assert_eq!(lines::too_long(folder.path()).len(), 1);
    let found = lines::too_long(root());
    assert!(found.is_empty(), "{} lines\n{}", found.len(), found.join("\n"));
}

/// Check that the table of bounds only names files and constants that exist.
#[test]
fn bounds_are_as_documented() {
    let wrong = bounds::wrong(root());
    assert!(wrong.is_empty(), "{} rows\n{}", wrong.len(), wrong.join("\n"));
}

/// Check that every mechanism has a row that says where it was seen at work, and that the document
/// has the same rows.
#[test]
fn every_mechanism_was_seen() {
    let wrong = seen::wrong(root());
    assert!(wrong.is_empty(), "{} rows\n{}", wrong.len(), wrong.join("\n"));
}
