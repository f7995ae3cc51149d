//! The one event type that feeds the journal, the terminal and `--json`.

use std::fs::File;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::Receipt;
use watchdog_core::memory::{PhysAddr, VirtAddr};
use watchdog_core::verify::Verdict;

/// What an event reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// Kernel text differs from its baseline and nothing explains it.
    TextTampered,
    /// A test of the guard failed, a process reached for the guard, or node 0's kernel uses memory
    /// of other nodes.
    GuardTampered,
    /// A kernel cannot be found or read any more, or its witnesses disagree.
    NodeLost,
    /// Something works with less than it should: the guard, the reports or a baseline.
    GuardDegraded,
    /// A write to another node's memory was stopped.
    WriteDenied,
    /// A process that reached another node's memory was killed.
    WriteKilled,
    /// A process reached for another node's memory, and policy only reports it.
    WriteObserved,
    /// Something in a node's memory looks like a kernel and is not the one it runs.
    StrayKernel,
    /// A witness contradicts a node's kernel, or agrees with it again.
    WitnessChanged,
    /// A kernel was found and is watched from now on.
    NodeFound,
    /// A node runs another kernel than before, or the same one in another place.
    NodeRebooted,
    /// A baseline was learned: trusted on first use.
    BaselineLearned,
    /// The test of every path passed, or node 0's kernel stopped using memory of other nodes.
    GuardArmed,
    /// A tracer, probe or patch changed a node's text by the kernel's own means.
    TextInstrumented,
    /// A node's text is equal to its baseline again, or explained by closed tables.
    TextClean,
    /// The watchdog runs.
    Started,
    /// The watchdog ends.
    Stopped,
    /// The guard was taken down.
    GuardDisarmed,
    /// A lease began: one executable may write a node's memory for some time.
    LeaseBegun,
    /// A lease ended.
    LeaseEnded,
}

impl EventKind {
    /// Every kind, for the catalog and its test.
    pub const ALL: [Self; 20] = [
        Self::TextTampered,
        Self::GuardTampered,
        Self::NodeLost,
        Self::GuardDegraded,
        Self::WriteDenied,
        Self::WriteKilled,
        Self::WriteObserved,
        Self::StrayKernel,
        Self::WitnessChanged,
        Self::NodeFound,
        Self::NodeRebooted,
        Self::BaselineLearned,
        Self::GuardArmed,
        Self::TextInstrumented,
        Self::TextClean,
        Self::Started,
        Self::Stopped,
        Self::GuardDisarmed,
        Self::LeaseBegun,
        Self::LeaseEnded,
    ];

    /// The name used in `WATCHDOG_EVENT` and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TextTampered => "text-tampered",
            Self::GuardTampered => "guard-tampered",
            Self::NodeLost => "node-lost",
            Self::GuardDegraded => "guard-degraded",
            Self::WriteDenied => "write-denied",
            Self::WriteKilled => "write-killed",
            Self::WriteObserved => "write-observed",
            Self::StrayKernel => "stray-kernel",
            Self::WitnessChanged => "witness-changed",
            Self::NodeFound => "node-found",
            Self::NodeRebooted => "node-rebooted",
            Self::BaselineLearned => "baseline-learned",
            Self::GuardArmed => "guard-armed",
            Self::TextInstrumented => "text-instrumented",
            Self::TextClean => "text-clean",
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::GuardDisarmed => "guard-disarmed",
            Self::LeaseBegun => "lease-begun",
            Self::LeaseEnded => "lease-ended",
        }
    }

    /// The syslog priority (2 critical … 6 informational).
    #[must_use]
    pub const fn priority(self) -> u8 {
        match self {
            Self::TextTampered | Self::GuardTampered => 2,
            Self::NodeLost | Self::GuardDegraded | Self::GuardDisarmed => 3,
            Self::WriteDenied
            | Self::WriteKilled
            | Self::WriteObserved
            | Self::StrayKernel
            | Self::WitnessChanged => 4,
            Self::NodeFound
            | Self::NodeRebooted
            | Self::BaselineLearned
            | Self::GuardArmed
            | Self::TextInstrumented
            | Self::LeaseBegun
            | Self::LeaseEnded => 5,
            Self::TextClean | Self::Started | Self::Stopped => 6,
        }
    }

    /// The `MESSAGE_ID` that `journalctl -x` looks up in the catalog. It never changes.
    #[must_use]
    pub const fn message_id(self) -> &'static str {
        match self {
            Self::TextTampered => "4e224a2c9eb749e3bdb6059431738945",
            Self::GuardTampered => "4db075a6201f4825bde08023723277ca",
            Self::NodeLost => "c5c3b36fd925421e8ab06548c9f26c5f",
            Self::GuardDegraded => "f2ee1e2c42714fb988cce18b32ea89f1",
            Self::WriteDenied => "0c6d4fca2f6e429faf9ea4f469b00478",
            Self::WriteKilled => "046d21d20c634f90b879e5499ee24d07",
            Self::WriteObserved => "ff864db0fd5240d0b2bf6679012833ec",
            Self::StrayKernel => "c40e4d0e5e154307970ae3acf6abf186",
            Self::WitnessChanged => "3474bd7585384ae28180cb314ab35c75",
            Self::NodeFound => "b4fa2d0e33524c43b868e6a50e4cbe0c",
            Self::NodeRebooted => "3c1a9e1b432646c8b11c88b2e09e59b9",
            Self::BaselineLearned => "b85dc6982064417cb39a6fc6c5b8438d",
            Self::GuardArmed => "4d4b8f7016f145d79fe6ae01445663d6",
            Self::TextInstrumented => "1d6a1029b9324b0793bc69c6958fc1e1",
            Self::TextClean => "81a25e1379bb478baba4f450e8aab77a",
            Self::Started => "fae811293bf9464596e7445895b1d4de",
            Self::Stopped => "2b2c09f2dd834e8cad595bec7d5261af",
            Self::GuardDisarmed => "7dc7aa5f4a114222b666a1a26cfd08d8",
            Self::LeaseBegun => "ad705ecb79b04b6d81c42f33952d5670",
            Self::LeaseEnded => "2d957478338b407bb3eb2f7c95a3a70f",
        }
    }
}

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
    /// SHA-256 of the executable, in hexadecimal, where it could still be read.
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
    /// What is done about the path: `denied`, `killed`, `observed`, `off` or `uncovered`.
    pub coverage: &'static str,
    /// Whether a self-test saw that.
    pub seen: bool,
    /// Why no self-test saw it, or the program, if that is not the usual one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An event, with what is known of it.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// When it was seen.
    pub time: Timestamp,
    /// What it is.
    #[serde(rename = "event")]
    pub kind: EventKind,
    /// [`EventKind::priority`], as a field of its own for programs.
    pub priority: u8,
    /// A full sentence: what, where, which node, what was done.
    pub message: String,
    /// The node concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The node's verdict, where the event is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Physical address concerned: the first byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phys: Option<PhysAddr>,
    /// The same in the node's own virtual addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virt: Option<VirtAddr>,
    /// Bytes concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// `symbol+offset` in the node's kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// Hexadecimal bytes the baseline has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// Hexadecimal bytes found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// The write path, by its name in the documentation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The process that did it.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// What the watchdog did about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<&'static str>,
    /// How many times it happened, where the event stands for several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// What the guard covers, path by path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Vec<PathCoverage>>,
    /// The attempts of the guard in force that the event accounts for.
    #[serde(skip)]
    pub receipt: Option<Receipt>,
    /// The executable of `process`, of which a digest is to be taken.
    #[serde(skip)]
    pub executable: Option<Arc<File>>,
}

impl Event {
    /// An event of now with nothing but its sentence.
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

    /// Check that JSON uses the documented names and leaves out what is not known.
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

    /// Check that the name in JSON is the name in the journal, for every kind, and that no two
    /// kinds share a message id.
    #[test]
    fn names_and_ids() {
        let mut ids = std::collections::BTreeSet::new();
        for kind in EventKind::ALL {
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(json, format!("\"{}\"", kind.name()));
            assert_eq!(kind.message_id().len(), 32);
            assert!(ids.insert(kind.message_id()), "{kind:?}");
        }
    }

    /// Check that the catalog file explains every kind, by its id.
    #[test]
    fn catalog_is_complete() {
        let catalog = include_str!("../../../dist/integrity-watchdog.catalog");
        for kind in EventKind::ALL {
            assert!(catalog.contains(&format!("-- {}\n", kind.message_id())), "{}", kind.name());
        }
    }
}
