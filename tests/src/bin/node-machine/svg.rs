//! A recording as an animated picture: all lines one below the other, behind a window that follows
//! them.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Result;

use crate::record::{Line, SCREEN};

/// Pixels.
const COLUMN: f64 = 8.4;
const ROW: f64 = 18.0;
const MARGIN: f64 = 12.0;
/// A longer wait is shortened to this many seconds.
const LONGEST_WAIT: f64 = 1.5;
/// How long the last lines stay before the animation restarts, in seconds.
const END: f64 = 6.0;

/// Writes the picture.
pub(crate) fn write(path: &Path, lines: &[Line]) -> Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    let (columns, rows) = SCREEN;
    let (width, height) = (columns as f64 * COLUMN, rows as f64 * ROW);
    let (outer_width, outer_height) = (width + 2.0 * MARGIN, height + 2.0 * MARGIN);
    let times = shown(lines);
    let all = times.last().copied().unwrap_or_default() + END;
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{outer_width}\" \
         height=\"{outer_height}\" \
         font-family=\"DejaVu Sans Mono, Menlo, Consolas, monospace\" font-size=\"14\">\n\
         <title>cargo xtask demo</title>\n<style>\n\
         text {{ fill: #d8dee9; }}\n\
         .act {{ fill: #88c0d0; font-weight: bold; }}\n\
         .bad {{ fill: #ebcb8b; }}\n\
         .ok {{ fill: #a3be8c; }}\n\
         #lines {{ animation: follow {all:.1}s step-end infinite; }}\n\
         @keyframes follow {{"
    )?;
    // The newest line is the last one in the window.
    for (n, at) in times.iter().enumerate() {
        let up = (rows as f64 - n as f64 - 1.0) * ROW;
        writeln!(out, "{:.3}% {{ transform: translateY({up}px); }}", 100.0 * at / all)?;
    }
    writeln!(
        out,
        "}}\n</style>\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#2e3440\"/>\n\
         <svg x=\"{MARGIN}\" y=\"{MARGIN}\" width=\"{width}\" height=\"{height}\">\n<g \
         id=\"lines\">"
    )?;
    for (n, (_, line)) in lines.iter().enumerate() {
        let y = (n as f64 + 0.75) * ROW;
        let (class, text) = (class(line), escaped(line));
        writeln!(out, "<text y=\"{y}\" xml:space=\"preserve\"{class}>{text}</text>")?;
    }
    writeln!(out, "</g>\n</svg>\n</svg>")?;
    Ok(out.flush()?)
}

/// Returns the time at which each line is shown: as recorded, but with shortened waits.
fn shown(lines: &[Line]) -> Vec<f64> {
    let (mut at, mut last) = (0.0, 0.0);
    let times = lines.iter().map(|(time, _)| {
        at += (time - last).clamp(0.0, LONGEST_WAIT);
        last = *time;
        at
    });
    times.collect()
}

fn class(line: &str) -> &'static str {
    let is = |words: &[&str]| words.iter().any(|word| line.contains(word));
    if line.starts_with("──") {
        " class=\"act\""
    } else if line.ends_with("  ok") {
        " class=\"ok\""
    } else if is(&["EPERM", "SIGKILL", "FAILED", "priority 2", "priority 4"]) {
        " class=\"bad\""
    } else {
        ""
    }
}

fn escaped(line: &str) -> String {
    line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that waits are shortened, that the order is kept, and that text is escaped.
    #[test]
    fn recording() {
        let lines = [(1.0, String::new()), (61.0, String::new()), (61.5, String::new())];
        assert_eq!(shown(&lines), [1.0, 1.0 + LONGEST_WAIT, 1.5 + LONGEST_WAIT]);
        assert_eq!(escaped("<a & b>"), "&lt;a &amp; b&gt;");
    }
}
