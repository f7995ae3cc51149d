//! Output for people: one block for each node, aligned, readable at 80 columns.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;

use watchdog_core::text::visible;

/// Column at which values begin.
const VALUES: usize = 17;

/// The writer for output to people: standard output, with the control characters of names made
/// visible.
pub(super) fn people() -> impl Write {
    Visible(io::stdout().lock())
}

/// Prints a JSON object as one line on standard output.
pub(super) fn json(object: &impl Serialize) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, object)?;
    writeln!(stdout)
}

/// A writer that makes control characters visible, so that no foreign name can control the
/// terminal.
struct Visible<W>(W);

impl<W: Write> Write for Visible<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(visible(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
        self.0.write_all(visible(&text.to_string()).as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Prints one line `  label          value`. A long value wraps below its first line.
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

/// A number of bytes with a unit: `14.0 MiB`.
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

    /// Check that a name cannot move the cursor, in a row or in a line.
    #[test]
    fn names_are_shown() {
        let mut out = Visible(Vec::new());
        row(&mut out, "file", "/a\x1b[2Jb").unwrap();
        writeln!(out, "node \u{202e}x\r").unwrap();
        let text = String::from_utf8(out.0).unwrap();
        assert_eq!(text, "  file           /a\\u{1b}[2Jb\nnode \\u{202e}x\\r\n");
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
