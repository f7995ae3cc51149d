//! Checks an invariant against `/proc/iomem`: node 0 does not use memory that it must leave alone.
//!
//! RAM that is added at run time, and memory that a driver claims, appear there as resources inside
//! reserved memory (kernel/resource.c, 6.1 to 7.2).

use std::fmt;

use super::map::parse_iomem;
use super::resources::{is_persistent, is_plain_memory, is_system_ram, read_iomem, resources};
use super::{MapError, PhysRange, RangeSet};

/// A part of memory that node 0 uses, and how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemoryUse {
    /// The part of the checked memory.
    pub range: PhysRange,
    /// How node 0 uses it.
    pub kind: UseKind,
}

/// How node 0 uses memory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UseKind {
    /// The allocator hands it out.
    SystemRam,
    /// Drivers for persistent memory manage it.
    Persistent,
    /// A driver claimed it by this name, which may hold anything that fits on a line.
    Claimed(String),
    /// This function of the kernel or of a module mapped it for the kernel itself.
    Mapped(String),
}

impl MemoryUse {
    /// Whether the kernel itself owns the memory, so that the guard cannot prevent writes to it.
    #[must_use]
    pub fn is_owned(&self) -> bool {
        matches!(self.kind, UseKind::SystemRam | UseKind::Persistent)
    }
}

impl fmt::Display for MemoryUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.range)?;
        match &self.kind {
            UseKind::SystemRam => f.write_str("is System RAM"),
            UseKind::Persistent => f.write_str("is persistent memory"),
            UseKind::Claimed(name) => write!(f, "is claimed as `{name}`"),
            UseKind::Mapped(by) => write!(f, "is mapped by `{by}`"),
        }
    }
}

/// The uses of `memory` by this kernel. The local APIC's registers do not count: every kernel uses
/// them.
///
/// # Errors
/// [`MapError`] when `/proc/iomem` cannot be read, or shows no addresses.
pub fn uses(memory: &RangeSet) -> Result<Vec<MemoryUse>, MapError> {
    uses_in(&read_iomem()?, memory)
}

fn uses_in(iomem: &str, memory: &RangeSet) -> Result<Vec<MemoryUse>, MapError> {
    let memory = memory.difference(&parse_iomem(iomem)?.local_apic);
    let mut found = Vec::new();
    // A resource inside a reported one is not reported again, except RAM.
    let mut reported = usize::MAX;
    for resource in resources(iomem) {
        let resource = resource?;
        let name = resource.name;
        if resource.depth <= reported {
            reported = usize::MAX;
        }
        let kind = match name {
            _ if is_system_ram(name) => UseKind::SystemRam,
            _ if resource.depth > reported => continue,
            _ if is_persistent(name) => UseKind::Persistent,
            _ if is_plain_memory(name) => continue,
            _ => UseKind::Claimed(name.to_owned()),
        };
        let parts = memory.parts(&resource.range);
        let before = found.len();
        found.extend(parts.map(|range| MemoryUse { range, kind: kind.clone() }));
        if found.len() > before {
            reported = reported.min(resource.depth);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IOMEM: &str = "\
00001000-0009ffff : System RAM
20000000-67ffffff : Reserved
  28000000-2fffffff : System RAM
    28000000-280fffff : Kernel data
  30000000-30000fff : ramoops:dump(0/1)
    30000000-300000ff : inner
  38000000-3fffffff : Soft Reserved
    38000000-38ffffff : dax0.0
      38000000-38ffffff : System RAM (kmem)
68000000-6fffffff : Persistent Memory (legacy)
fee00000-fee00fff : Local APIC
";

    /// Check that each use of guarded memory is found once, at any depth, with the part that is
    /// guarded. Check that memory that is only reserved, lies beside the guarded memory or is a
    /// local APIC is not reported.
    #[test]
    fn found() {
        let uses = |ranges: &[&str]| {
            let memory = ranges.iter().flat_map(|range| range.parse()).collect();
            let uses = uses_in(IOMEM, &memory).unwrap();
            uses.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            uses(&["0x2f000000..0x30001000", "0x30000000..0x31000000"]),
            [
                "0x2f000000..0x30000000 is System RAM",
                "0x30000000..0x30001000 is claimed as `ramoops:dump(0/1)`"
            ]
        );
        assert_eq!(
            uses(&["0x38000000..0x50000000"]),
            [
                "0x38000000..0x39000000 is claimed as `dax0.0`",
                "0x38000000..0x39000000 is System RAM"
            ]
        );
        assert_eq!(
            uses(&["0x6ffff000..0x70000000"]),
            ["0x6ffff000..0x70000000 is persistent memory"]
        );
        assert!(uses(&["0x20000000..0x28000000", "0x40000000..0x68000000"]).is_empty());
        assert!(uses(&["0xfee00000..0xfee01000"]).is_empty());
    }

    /// Check that a list without addresses is an error, not proof that nothing is used.
    #[test]
    fn hidden() {
        let memory = "0x1000..0x2000".parse().into_iter().collect();
        let hidden = uses_in("00000000-00000000 : System RAM\n", &memory);
        assert!(matches!(hidden, Err(MapError::Hidden)));
    }
}
