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
            "The change was there at the first look, so its cause is unknown".to_owned()
        }
        Attribution::GuardIncomplete { is_over } => {
            let verb = if *is_over { "was" } else { "is" };
            format!("Possibly caused by node 0: the guard {verb} not whole")
        }
        Attribution::Node0(access) => {
            format!("Possibly caused by node 0: before the change, {}", deed(access))
        }
        Attribution::Elsewhere { are_devices_confined } => {
            let which = if *are_devices_confined { " that the IOMMU does not confine" } else { "" };
            format!(
                "Not caused by node 0 (the guard let no write through). The change came from \
                 inside node {node}, or from a device{which}"
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
            format!("the guard did not stop {} on path `{path}`", process(pid, comm))
        }
        Access::Killed { path, pid, comm } => {
            format!("the guard killed {} on path `{path}`", process(pid, comm))
        }
        Access::Unreported { path, count } => {
            format!("{count} `{path}` attempts were not reported one by one")
        }
        Access::Unjudged { path, count } => format!("{count} `{path}` calls were not judged"),
        Access::Used(it) => format!(
            "node 0's kernel used memory of the node: {}",
            printable(it.to_string().as_bytes(), USE_SHOWN)
        ),
        Access::Leased { exe } => {
            let exe = printable(exe.as_bytes(), EXE_SHOWN);
            format!("a lease allowed {exe} to write there")
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
                "the guard did not stop process 7 (d\\nd) on path `mmap`",
            ),
            (
                Access::Killed { path, pid, comm },
                "the guard killed process 7 (d\\nd) on path `mmap`",
            ),
            (
                Access::Unreported { path, count: 3 },
                "3 `mmap` attempts were not reported one by one",
            ),
            (Access::Unjudged { path, count: 2 }, "2 `mmap` calls were not judged"),
            (
                Access::Used(used),
                "node 0's kernel used memory of the node: 0x2000..0x2001 is mapped by `phram`",
            ),
            (
                Access::Leased { exe: "/bin/a\nb".to_owned() },
                "a lease allowed /bin/a\\nb to write there",
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
                "The change was there at the first look, so its cause is unknown",
            ),
            (
                Attribution::GuardIncomplete { is_over: false },
                "Possibly caused by node 0: the guard is not whole",
            ),
            (
                Attribution::GuardIncomplete { is_over: true },
                "Possibly caused by node 0: the guard was not whole",
            ),
            (
                Attribution::Elsewhere { are_devices_confined: false },
                "Not caused by node 0 (the guard let no write through). The change came from \
                 inside node web, or from a device",
            ),
            (
                Attribution::Elsewhere { are_devices_confined: true },
                "Not caused by node 0 (the guard let no write through). The change came from \
                 inside node web, or from a device that the IOMMU does not confine",
            ),
        ];
        for (attribution, expected) in others {
            assert_eq!(sentence(&node, &attribution), expected);
        }
    }
}
