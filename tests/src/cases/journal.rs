//! The watchdog's entries in node 0's journal.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::machine::{Node0, Process};

/// One entry of the journal.
#[derive(Clone)]
pub struct Entry(Value);

impl Entry {
    /// Parses the output of `journalctl -o json`, which has one entry a line.
    pub(super) fn all_of(lines: &str) -> Result<Vec<Self>> {
        lines.lines().map(|line| Ok(Self(serde_json::from_str(line)?))).collect()
    }

    /// A field's text, or nothing if the entry does not have the field.
    #[must_use]
    pub fn field(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether it is an event of this kind.
    #[must_use]
    pub fn is(&self, kind: &str) -> bool {
        self.field("WATCHDOG_EVENT") == kind
    }

    /// The time from node 0's boot until journald received the entry.
    pub fn since_boot(&self) -> Result<Duration> {
        Ok(Duration::from_micros(self.field("__MONOTONIC_TIMESTAMP").parse()?))
    }
}

/// `event: message`.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field("WATCHDOG_EVENT"), self.field("MESSAGE"))
    }
}

/// One line: the event and the watchdog's fields, without those that journald adds.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} [priority {}", self.field("PRIORITY"))?;
        for (name, value) in self.0.as_object().into_iter().flatten() {
            match (name.strip_prefix("WATCHDOG_"), value.as_str()) {
                (Some(name), Some(value)) if name != "EVENT" => write!(f, ", {name} {value}")?,
                _ => {}
            }
        }
        f.write_str("]")
    }
}

/// Entries as they arrive. A case that waits for one takes no time of node 0's processor.
pub(super) struct Follower {
    journalctl: Process,
    entries: Vec<Entry>,
    /// How many bytes of the output have been read.
    read: usize,
}

impl Follower {
    /// Starts with the first entry of the journal.
    pub(super) fn start(node0: &Node0) -> Result<Self> {
        let follow = ["journalctl", "-t", "watchdog", "-o", "json", "-q", "--no-tail", "--follow"];
        Ok(Self { journalctl: node0.spawn(follow)?, entries: Vec::new(), read: 0 })
    }

    /// All entries so far.
    pub(super) fn entries(&mut self) -> Result<&[Entry]> {
        let output = self.journalctl.so_far()?;
        let new = output.stdout.get(self.read..).unwrap_or_default();
        let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        self.entries.extend(Entry::all_of(&String::from_utf8_lossy(&new[..whole]))?);
        self.read += whole;
        ensure!(
            !self.journalctl.has_ended(),
            "journalctl has ended: {}",
            self.journalctl.so_far()?
        );
        Ok(&self.entries)
    }
}
