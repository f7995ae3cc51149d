//! What the source tree promises of itself: no circle of files, no line that is too long.

mod circles;

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

/// Check that no files of a crate lead to one another. Between crates Cargo allows no circle.
#[test]
fn no_circle_of_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the project's root");
    let circles: Vec<_> =
        CRATES.iter().flat_map(|file| House::read(&root.join(file)).circles()).collect();
    assert!(circles.is_empty(), "{} circles\n{}", circles.len(), circles.join("\n"));
}
