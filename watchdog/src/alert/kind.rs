//! The kinds of event. One table has the constants of each kind.

use serde::Serialize;

/// Makes [`EventKind`] from its table: a row for each kind, with its name, priority and message id.
macro_rules! event_kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident: $name:literal, $priority:literal, $id:literal;)+) => {
        /// What an event reports.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
        pub enum EventKind {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $kind,)+
        }

        impl EventKind {
            /// Every kind, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            const fn row(self) -> Row {
                match self {
                    $(Self::$kind => Row { name: $name, priority: $priority, message_id: $id },)+
                }
            }
        }
    };
}

/// The constants of a kind.
struct Row {
    name: &'static str,
    priority: u8,
    message_id: &'static str,
}

// The name is the value of `WATCHDOG_EVENT`, and of `event` in JSON. The priority is syslog's: 2
// critical … 6 informational. `journalctl -x` looks the id up in the catalog. The id never changes.
event_kinds! {
    /// Kernel text differs from its baseline, and nothing explains it.
    TextTampered: "text-tampered", 2, "4e224a2c9eb749e3bdb6059431738945";
    /// A test of the guard failed, a process reached for the guard, or node 0's kernel uses memory
    /// of other nodes.
    GuardTampered: "guard-tampered", 2, "4db075a6201f4825bde08023723277ca";
    /// A kernel cannot be found or read any more, or its witnesses disagree.
    NodeLost: "node-lost", 3, "c5c3b36fd925421e8ab06548c9f26c5f";
    /// The guard, the reports or a baseline are degraded.
    GuardDegraded: "guard-degraded", 3, "f2ee1e2c42714fb988cce18b32ea89f1";
    /// The guard denied a write to another node's memory.
    WriteDenied: "write-denied", 4, "0c6d4fca2f6e429faf9ea4f469b00478";
    /// The guard killed a process that reached another node's memory.
    WriteKilled: "write-killed", 4, "046d21d20c634f90b879e5499ee24d07";
    /// A process reached for another node's memory, and policy only reports it.
    WriteObserved: "write-observed", 4, "ff864db0fd5240d0b2bf6679012833ec";
    /// A node's memory holds something like a kernel that is not the one that the node runs.
    StrayKernel: "stray-kernel", 4, "c40e4d0e5e154307970ae3acf6abf186";
    /// A witness contradicts a node's kernel, or agrees with it again.
    WitnessChanged: "witness-changed", 4, "3474bd7585384ae28180cb314ab35c75";
    /// A kernel was found and is watched from now on.
    NodeFound: "node-found", 5, "b4fa2d0e33524c43b868e6a50e4cbe0c";
    /// A node runs another kernel than before, or the same one in another place.
    NodeRebooted: "node-rebooted", 5, "3c1a9e1b432646c8b11c88b2e09e59b9";
    /// A baseline was learned: trusted on first use.
    BaselineLearned: "baseline-learned", 5, "b85dc6982064417cb39a6fc6c5b8438d";
    /// The test of every path passed, or node 0's kernel stopped using memory of other nodes.
    GuardArmed: "guard-armed", 5, "4d4b8f7016f145d79fe6ae01445663d6";
    /// A tracer, probe or patch changed a node's text through a mechanism of the kernel.
    TextInstrumented: "text-instrumented", 5, "1d6a1029b9324b0793bc69c6958fc1e1";
    /// A part of a node's text is not judged.
    TextNotJudged: "text-not-judged", 5, "eef3de48608d481bb00e10063b3edc04";
    /// A node's text equals its baseline again, or closed tables explain its differences.
    TextClean: "text-clean", 6, "81a25e1379bb478baba4f450e8aab77a";
    /// The watchdog runs.
    Started: "started", 6, "fae811293bf9464596e7445895b1d4de";
    /// The watchdog ends.
    Stopped: "stopped", 6, "2b2c09f2dd834e8cad595bec7d5261af";
    /// The guard was taken down.
    GuardDisarmed: "guard-disarmed", 3, "7dc7aa5f4a114222b666a1a26cfd08d8";
    /// A lease began: one executable may write a node's memory for some time.
    LeaseBegun: "lease-begun", 5, "ad705ecb79b04b6d81c42f33952d5670";
    /// A lease ended.
    LeaseEnded: "lease-ended", 5, "2d957478338b407bb3eb2f7c95a3a70f";
}

impl EventKind {
    /// The name used in `WATCHDOG_EVENT` and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The syslog priority (2 critical … 6 informational).
    #[must_use]
    pub const fn priority(self) -> u8 {
        self.row().priority
    }

    /// The `MESSAGE_ID` that `journalctl -x` looks up in the catalog: 32 hexadecimal digits.
    #[must_use]
    pub const fn message_id(self) -> &'static str {
        self.row().message_id
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::doc_table::{codes, rows};

    /// Check that JSON has the same name as the journal, and that no two kinds share a name or an
    /// id.
    #[test]
    fn names_and_ids() {
        let mut seen = BTreeSet::new();
        for kind in EventKind::ALL {
            assert_eq!(serde_json::to_string(kind).unwrap(), format!("\"{}\"", kind.name()));
            let id = kind.message_id();
            assert!(id.len() == 32 && id.bytes().all(|it| it.is_ascii_hexdigit()), "{id}");
            assert!(seen.insert(kind.name()) && seen.insert(id), "{kind:?}");
        }
    }

    /// Check that the catalog file has one entry for each kind, with a subject and a text, and no
    /// other entry.
    #[test]
    fn catalog() {
        let catalog = include_str!("../../../dist/integrity-watchdog.catalog");
        let mut ids: Vec<_> = catalog
            .split("\n-- ")
            .skip(1)
            .map(|entry| {
                let (head, text) = entry.split_once("\n\n").unwrap_or((entry, ""));
                let [id, subject, by] = head.lines().collect::<Vec<_>>()[..] else {
                    panic!("not an id, a subject and a definer: {head}")
                };
                assert!(subject.starts_with("Subject: ") && !text.trim().is_empty(), "{entry}");
                assert_eq!(by, "Defined-By: integrity-watchdog");
                id
            })
            .collect();
        ids.sort_unstable();
        let mut expected: Vec<_> = EventKind::ALL.iter().map(|kind| kind.message_id()).collect();
        expected.sort_unstable();
        assert_eq!(ids, expected);
    }

    /// Check that docs/events.md has a row for each kind, with its priority, and no other kind.
    #[test]
    fn documented() {
        let document = include_str!("../../../docs/events.md");
        let mut documented = Vec::new();
        for row in rows(document, &["priority", "event", "when"]) {
            let priority: u8 = row[0].parse().unwrap();
            documented.extend(codes(row[1]).into_iter().map(|name| (priority, name)));
        }
        documented.sort_unstable();
        let mut kinds: Vec<_> =
            EventKind::ALL.iter().map(|kind| (kind.priority(), kind.name())).collect();
        kinds.sort_unstable();
        assert_eq!(documented, kinds);
    }
}
