//! The tables of the documents, for tests that compare them with the code.

/// The rows of the one table with these column names. Each row is a vector of cells.
///
/// # Panics
/// If the document does not have exactly one such table, or a row has another number of cells.
pub(crate) fn rows<'a>(document: &'a str, columns: &[&str]) -> Vec<Vec<&'a str>> {
    let is_head = |line: &&str| cells(line) == columns;
    assert_eq!(document.lines().filter(is_head).count(), 1, "tables with the columns {columns:?}");
    let table = document.lines().skip_while(|line| !is_head(line));
    // The line below the names separates them from the rows.
    let rows = table.skip(2).take_while(|line| line.starts_with('|')).map(cells);
    rows.inspect(|row| assert_eq!(row.len(), columns.len(), "cells of {row:?}")).collect()
}

/// The cells of a line of a table. Any other line has none.
fn cells(line: &str) -> Vec<&str> {
    let inside = line.strip_prefix('|').and_then(|line| line.trim_end().strip_suffix('|'));
    inside.map(|line| line.split('|').map(str::trim).collect()).unwrap_or_default()
}

/// The texts between backticks in a cell.
pub(crate) fn codes(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Check that only the table with the columns is read, to its end.
#[test]
fn one_table() {
    let document = "| a | b |\n|---|---|\n| 1 | `x`, `y` |\n\n| a | c |\n|---|---|\n| 2 | z |\n";
    let found = rows(document, &["a", "b"]);
    assert_eq!(found, [["1", "`x`, `y`"]]);
    assert_eq!(codes(found[0][1]), ["x", "y"]);
}
