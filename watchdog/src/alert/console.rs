//! Events as lines, for people and for programs.

use std::io::{self, Write};

use jiff::tz::TimeZone;

use super::{Event, Sink};

/// An event as one line for a person: local time, severity, kind, sentence.
#[must_use]
pub fn line(event: &Event) -> String {
    let severity = match event.priority {
        2 => "CRITICAL",
        3 => "ERROR",
        4 => "WARNING",
        5 => "notice",
        _ => "info",
    };
    let time = event.time.to_zoned_datetime(TimeZone::system()).strftime("%H:%M:%S");
    format!("{time}  {severity:<8}  {:<16}  {}", event.kind.name(), event.message)
}

/// Lines for people, on standard error.
#[derive(Debug)]
pub struct Terminal;

impl Sink for Terminal {
    fn name(&self) -> &'static str {
        "the terminal"
    }

    fn send(&mut self, event: &Event) -> anyhow::Result<()> {
        writeln!(io::stderr(), "{}", line(event))?;
        Ok(())
    }
}

/// Events as JSON on standard output, one object a line.
#[derive(Debug)]
pub(super) struct JsonLines;

impl Sink for JsonLines {
    fn name(&self) -> &'static str {
        "standard output"
    }

    fn send(&mut self, event: &Event) -> anyhow::Result<()> {
        let mut text = serde_json::to_string(event)?;
        text.push('\n');
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()?;
        Ok(())
    }
}
