//! Sentences about the origin of a change.

use crate::node::NodeName;
use crate::watch::attribution::{Access, Attribution};
use watchdog_core::text::printable;

/// Bytes of a process's name that are shown.
const COMM_SHOWN: usize = 16;
/// Bytes of an executable's path that are shown.
const EXE_SHOWN: usize = 64;
/// Bytes of a use of memory that are shown.
const USE_SHOWN: usize = 256;

/// The sentence about the origin of a change of a node's memory.
pub(super) fn sentence(node: &NodeName, attribution: &Attribution) -> String {
    match attribution {
        Attribution::Unknown => {
            "The change was already there when the watchdog first checked this kernel, so the \
             cause is unknown"
                .to_owned()
        }
        Attribution::GuardIncomplete { is_over } => {
            let verb = if *is_over { "was" } else { "is" };
            format!("Possibly caused by node 0: the guard {verb} incomplete")
        }
        Attribution::Node0(access) => {
            format!("Possibly caused by node 0: before the change, {}", deed(access))
        }
        Attribution::Elsewhere { are_devices_confined } => {
            let which = if *are_devices_confined { " that the IOMMU does not confine" } else { "" };
            format!(
                "Not caused by node 0 (the guard let no write through). The change came from \
                 inside node {node}, from another node, from firmware, or from a device{which}"
            )
        }
    }
}

/// The part of a sentence about an access by node 0.
fn deed(access: &Access) -> String {
    let process =
        |pid: &u32, comm: &[u8]| format!("process {pid} ({})", printable(comm, COMM_SHOWN));
    match access {
        Access::Allowed { path, pid, comm } => {
            format!("the guard did not stop {} on write path `{path}`", process(pid, comm))
        }
        Access::Killed { path, pid, comm } => {
            let process = process(pid, comm);
            format!(
                "the guard killed {process} on write path `{path}`, but the process may have \
                 written before that"
            )
        }
        Access::Unreported { path, count } => {
            let attempts = if *count == 1 { "attempt was" } else { "attempts were" };
            format!("{count} `{path}` {attempts} only counted, so the memory is unknown")
        }
        Access::Unjudged { path, count } => {
            let calls = if *count == 1 { "call was" } else { "calls were" };
            format!("{count} `{path}` {calls} not judged by the guard")
        }
        Access::Used(it) => format!(
            "node 0's kernel used memory of the node: {}",
            printable(it.to_string().as_bytes(), USE_SHOWN)
        ),
        Access::Leased { exe } => {
            let exe = printable(exe.as_bytes(), EXE_SHOWN);
            format!("a lease allowed {exe} to write to memory of the node")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use watchdog_core::memory::{MemoryUse, UseKind};
    use watchdog_guard::WritePath;

    /// Check the sentence for every attribution, and that foreign names in it are printable.
    #[test]
    fn sentences() {
        let node = "web".parse().expect("a name");
        let (path, pid, comm) = (WritePath::Mmap, 7, b"d\nd".to_vec());
        let used = MemoryUse {
            range: "0x2000..0x2001".parse().expect("a range"),
            kind: UseKind::Mapped("phram".to_owned()),
        };
        let accesses = [
            (
                Access::Allowed { path, pid, comm: comm.clone() },
                "the guard did not stop process 7 (d\\nd) on write path `mmap`",
            ),
            (
                Access::Killed { path, pid, comm },
                "the guard killed process 7 (d\\nd) on write path `mmap`, but the process may have \
                 written before that",
            ),
            (
                Access::Unreported { path, count: 3 },
                "3 `mmap` attempts were only counted, so the memory is unknown",
            ),
            (Access::Unjudged { path, count: 2 }, "2 `mmap` calls were not judged by the guard"),
            (
                Access::Used(used),
                "node 0's kernel used memory of the node: 0x2000..0x2001 is mapped by `phram`",
            ),
            (
                Access::Leased { exe: "/bin/a\nb".to_owned() },
                "a lease allowed /bin/a\\nb to write to memory of the node",
            ),
        ];
        for (access, deed) in accesses {
            assert_eq!(
                sentence(&node, &Attribution::Node0(access)),
                format!("Possibly caused by node 0: before the change, {deed}")
            );
        }
        let others = [
            (
                Attribution::Unknown,
                "The change was already there when the watchdog first checked this kernel, so the \
                 cause is unknown",
            ),
            (
                Attribution::GuardIncomplete { is_over: false },
                "Possibly caused by node 0: the guard is incomplete",
            ),
            (
                Attribution::GuardIncomplete { is_over: true },
                "Possibly caused by node 0: the guard was incomplete",
            ),
            (
                Attribution::Elsewhere { are_devices_confined: false },
                "Not caused by node 0 (the guard let no write through). The change came from \
                 inside node web, from another node, from firmware, or from a device",
            ),
            (
                Attribution::Elsewhere { are_devices_confined: true },
                "Not caused by node 0 (the guard let no write through). The change came from \
                 inside node web, from another node, from firmware, or from a device that the \
                 IOMMU does not confine",
            ),
        ];
        for (attribution, expected) in others {
            assert_eq!(sentence(&node, &attribution), expected);
        }
    }
}
