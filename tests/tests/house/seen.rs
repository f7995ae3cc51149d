//! The table of mechanisms that were seen at work (tests/seen-at-work.tsv): it has every mechanism
//! of the judge, and names tests that exist.

use std::fs;
use std::path::Path;

use crate::all_source;

/// Returns the errors in the table, and the rows that docs/kernels.md lacks.
pub(crate) fn wrong(root: &Path) -> Vec<String> {
    let read = |file: &str| fs::read_to_string(root.join(file)).expect("a file of the project");
    let source = read("watchdog/core/src/verify/judge/mechanism.rs");
    // The arms of `Mechanism::name`, of which the compiler requires one for each variant.
    let mechanisms: Vec<&str> =
        source.lines().filter_map(|line| line.split("=> \"").nth(1)?.split('"').next()).collect();
    assert!(mechanisms.len() > 10, "{mechanisms:?}");
    let (table, document) = (read("tests/seen-at-work.tsv"), read("docs/kernels.md"));
    let tests = all_source(&root.join("tests"));
    let (mut wrong, mut seen) = (Vec::new(), Vec::new());
    for row in table.lines().filter(|line| !line.starts_with('#')) {
        let cells: Vec<&str> = row.split('\t').collect();
        let [mechanism, _form, kernels, test] = cells[..] else {
            wrong.push(format!("not four cells: {row}"));
            continue;
        };
        if !mechanisms.contains(&mechanism) {
            wrong.push(format!("there is no mechanism {mechanism}"));
        }
        if kernels.is_empty() || !tests.contains(test) {
            wrong.push(format!("{mechanism}: no kernel, or there is no test {test}"));
        }
        if !document.contains(&format!("| {} |", cells.join(" | "))) {
            wrong.push(format!("docs/kernels.md lacks: {row}. Run `cargo xtask survey --offline`"));
        }
        seen.push(mechanism);
    }
    let unseen = mechanisms.iter().filter(|it| !seen.contains(it));
    wrong.extend(unseen.map(|it| format!("no row of tests/seen-at-work.tsv is about {it}")));
    wrong
}
