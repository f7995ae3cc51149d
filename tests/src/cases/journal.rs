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
    /// Reads what `journalctl -o json` prints: a line for each entry.
    pub(super) fn all_of(lines: &str) -> Result<Vec<Self>> {
        lines.lines().map(|line| Ok(Self(serde_json::from_str(line)?))).collect()
    }

    /// A field's text; empty when it is not there.
    #[must_use]
    pub fn field(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether it is an event of this kind.
    #[must_use]
    pub fn is(&self, kind: &str) -> bool {
        self.field("WATCHDOG_EVENT") == kind
    }

    /// When journald took it, since node 0 booted.
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

/// A line: the event and what the watchdog says of it, without what journald adds.
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

/// Entries as they come: who waits for one takes nothing of node 0's processor.
pub(super) struct Follower {
    journalctl: Process,
    entries: Vec<Entry>,
    /// Bytes of its output that have been read.
    read: usize,
}

impl Follower {
    /// Begins with the first entry there is.
    pub(super) fn start(node0: &Node0) -> Result<Self> {
        let follow = ["journalctl", "-t", "watchdog", "-o", "json", "-q", "--no-tail", "--follow"];
        Ok(Self { journalctl: node0.spawn(follow)?, entries: Vec::new(), read: 0 })
    }

    /// All that have come so far.
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
