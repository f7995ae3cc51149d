//! `cargo xtask demo --record FILE`: records a real run of the demo as it appears on the terminal.
//!
//! FILE.cast is an asciicast (version 2), for asciinema and compatible players. FILE.svg plays by
//! itself in a page, with shortened waits.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use xtask::options;

use crate::svg;

/// Columns and lines of the recorded terminal.
pub(crate) const SCREEN: (usize, usize) = (80, 28);

/// A line, and the time at which it appeared, in seconds.
pub(crate) type Line = (f64, String);

/// Plays all acts in a separate process, and records its output.
pub(crate) fn demo(options: &options::Demo, file: &Path) -> Result<()> {
    let acts: Vec<String> = options.acts.iter().map(ToString::to_string).collect();
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["demo", "--kernel", &options.kernel]);
    if !acts.is_empty() {
        command.args(["--acts", &acts.join(",")]);
    }
    let mut demo = command.stdout(Stdio::piped()).spawn().context("cannot start the demo")?;
    let output = demo.stdout.take().context("the demo has no output")?;
    let begun = Instant::now();
    let mut lines: Vec<Line> = Vec::new();
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        lines.push((begun.elapsed().as_secs_f64(), line));
    }
    let status = demo.wait()?;
    ensure!(status.success(), "the demo failed ({status}): nothing is recorded");
    let cast = file.with_extension("cast");
    write_cast(&cast, &lines).with_context(|| format!("cannot write {}", cast.display()))?;
    let picture = file.with_extension("svg");
    svg::write(&picture, &lines).with_context(|| format!("cannot write {}", picture.display()))?;
    println!("recorded: {} and {}", cast.display(), picture.display());
    Ok(())
}

/// <https://docs.asciinema.org/manual/asciicast/v2/>
fn write_cast(path: &Path, lines: &[Line]) -> Result<()> {
    let mut file = File::create(path)?;
    let (width, height) = SCREEN;
    let header = json!({
        "version": 2, "width": width, "height": height, "command": "cargo xtask demo",
    });
    writeln!(file, "{header}")?;
    for (at, line) in lines {
        writeln!(file, "{}", json!([at, "o", format!("{line}\r\n")]))?;
    }
    Ok(())
}
