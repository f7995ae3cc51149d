//! Output for people: a block a node, aligned, readable at 80 columns.

use std::io::{self, Write};

/// Column at which values begin.
const VALUES: usize = 17;

/// Where a command's output goes: for people to standard output, or to standard error when
/// programs read the other.
pub(super) fn people(json: bool) -> Box<dyn Write> {
    if json { Box::new(io::stderr().lock()) } else { Box::new(io::stdout().lock()) }
}

/// One line `  label          value`; long values go on below, under the value.
pub(super) fn row(out: &mut dyn Write, label: &str, value: &str) -> io::Result<()> {
    let mut label = label;
    let mut line = String::new();
    for word in value.split(' ') {
        if !line.is_empty() && VALUES + line.chars().count() + 1 + word.chars().count() > 80 {
            writeln!(out, "  {label:<width$}{line}", width = VALUES - 2)?;
            (label, line) = ("", String::new());
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    writeln!(out, "  {label:<width$}{line}", width = VALUES - 2)
}

/// Bytes with a unit a person can compare: `14.0 MiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} bytes") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that long values wrap below their column and never pass 80 columns.
    #[test]
    fn rows_wrap() {
        let mut out = Vec::new();
        row(&mut out, "reason", "witness says so ".repeat(12).trim_end()).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().count() > 1);
        for line in text.lines() {
            assert!(line.chars().count() <= 80 && line.len() > VALUES, "{line}");
            assert_eq!(line.starts_with("  reason"), line == text.lines().next().unwrap());
        }
    }

    /// Check sizes at the borders of their units.
    #[test]
    fn sizes() {
        for (bytes, text) in
            [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (14_687_538, "14.0 MiB")]
        {
            assert_eq!(size(bytes), text);
        }
    }
}
