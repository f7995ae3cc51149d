//! The event type for the journal, the terminal and `--json`.

use std::fs::File;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::Receipt;
use super::kind::EventKind;
use watchdog_core::memory::{PhysAddr, VirtAddr};
use watchdog_core::verify::Verdict;

/// The process behind an event. Its strings are made printable before they come here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Process (thread group) id.
    pub pid: u32,
    /// The task's name, as the kernel has it.
    pub comm: String,
    /// Path of the executable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// SHA-256 of the executable, in hexadecimal, if it could still be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe_sha256: Option<String>,
    /// Real user id, in node 0's initial user namespace.
    pub uid: u32,
    /// Thread id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tid: Option<u32>,
    /// Control group, which names a service or a container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Process id of the parent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<u32>,
    /// The parent's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_comm: Option<String>,
}

/// A row of the guard's coverage. Only `--json` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PathCoverage {
    /// Its number in tables.
    pub row: u32,
    /// The path's name.
    pub path: String,
    /// The coverage of the path: `denied`, `killed`, `observed`, `off` or `uncovered`.
    pub coverage: &'static str,
    /// Whether a self-test confirmed that.
    pub seen: bool,
    /// Why no self-test confirmed it; or the program, if it is not the usual one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An event with all its known details.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// When it was detected.
    pub time: Timestamp,
    /// The kind of event.
    #[serde(rename = "event")]
    pub kind: EventKind,
    /// [`EventKind::priority`], as a separate field for programs.
    pub priority: u8,
    /// A full sentence: what happened, where, in which node, and what was done.
    pub message: String,
    /// The node concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The node's verdict, if the event is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Physical address concerned: the first byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phys: Option<PhysAddr>,
    /// The same place as a virtual address of the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virt: Option<VirtAddr>,
    /// Bytes concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// `symbol+offset` in the node's kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// The bytes in the baseline, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// The bytes found, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// The write path, by its name in the documentation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The process that caused the event.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// The watchdog's reaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<&'static str>,
    /// How many times it happened, if the event represents several occurrences.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The guard's coverage, path by path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Vec<PathCoverage>>,
    /// The attempts, counted by the guard in force, that the event accounts for.
    #[serde(skip)]
    pub receipt: Option<Receipt>,
    /// The executable of `process`, to compute its digest.
    #[serde(skip)]
    pub executable: Option<Arc<File>>,
}

impl Event {
    /// An event with the current time and a sentence.
    #[must_use]
    pub fn new(kind: EventKind, message: impl Into<String>) -> Self {
        Self {
            time: Timestamp::now(),
            kind,
            priority: kind.priority(),
            message: message.into(),
            node: None,
            verdict: None,
            phys: None,
            virt: None,
            length: None,
            symbol: None,
            expected: None,
            found: None,
            path: None,
            process: None,
            action: None,
            count: None,
            coverage: None,
            receipt: None,
            executable: None,
        }
    }

    /// The same event about a node.
    #[must_use]
    pub fn node(mut self, name: impl Into<String>) -> Self {
        self.node = Some(name.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that JSON uses the documented names and leaves out unknown fields.
    #[test]
    fn json() {
        let mut event = Event::new(EventKind::WriteDenied, "denied").node("service-2");
        event.time = Timestamp::UNIX_EPOCH;
        event.phys = Some(PhysAddr(0x5000_0000));
        event.process = Some(Process { pid: 91, comm: "dd".into(), ..Process::default() });
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            [
                r#"{"time":"1970-01-01T00:00:00Z","event":"write-denied","priority":4,"#,
                r#""message":"denied","node":"service-2","phys":"0x50000000","#,
                r#""pid":91,"comm":"dd","uid":0}"#,
            ]
            .concat()
        );
    }
}
