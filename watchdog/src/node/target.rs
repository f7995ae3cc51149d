//! What a command works on: a memory source, and the nodes in it.

use std::sync::Arc;

use super::{NodeName, NodeSpec};
use crate::config::Config;
use crate::memory::{
    MapError, Memory, MemoryMap, MemorySource, PhysRange, RangeSet, SourceError, open_devmem,
    open_raw,
};

/// Which nodes there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// The user said so.
    Configured(Vec<(NodeName, RangeSet)>),
    /// Every kernel in this memory is one, named `prefix-1`, `prefix-2`, … by text address.
    Discovered {
        /// `service` on a live machine, `image` in an image.
        prefix: &'static str,
        /// Where to look.
        within: RangeSet,
    },
}

impl Nodes {
    /// All memory of all nodes: what is read, and on a live machine what is guarded.
    #[must_use]
    pub fn memory(&self) -> RangeSet {
        match self {
            Self::Configured(nodes) => {
                nodes.iter().flat_map(|(_, ranges)| ranges.ranges()).copied().collect()
            }
            Self::Discovered { within, .. } => within.clone(),
        }
    }
}

/// A memory source with the nodes in it.
#[derive(Clone)]
pub struct Target {
    /// Where memory is read.
    pub memory: Arc<dyn Memory>,
    /// The nodes.
    pub nodes: Nodes,
    /// What the guard must protect: all memory of all nodes, and the local APIC's registers, by
    /// which a CPU of theirs could be made to run anything. `None` where memory is a file.
    pub guarded: Option<RangeSet>,
}

/// Why there is nothing to work on.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The source cannot be used.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The memory map is not known.
    #[error(transparent)]
    Map(#[from] MapError),
    /// A node's range is RAM of this kernel.
    #[error(
        "{range} of node `{node}` is System RAM of this kernel ({ram}): its allocator uses it, so it can be no other node's. Reserve the range (memmap=SIZE$START on the kernel command line) or correct --node; /proc/iomem shows the map"
    )]
    SystemRam {
        /// The node.
        node: NodeName,
        /// The part of its memory that is RAM.
        range: PhysRange,
        /// The RAM it lies in.
        ram: PhysRange,
    },
    /// A node's range belongs to a device.
    #[error(
        "{range} of node `{node}` is no memory but a device's (see /proc/iomem), and reading it could disturb the device. Correct --node"
    )]
    Device {
        /// The node.
        node: NodeName,
        /// The part that is a device's.
        range: PhysRange,
    },
    /// A node's range is outside the image.
    #[error(
        "{range} of node `{node}` is not in the image, which holds {image}. Correct --node, or give the image's physical address: raw:FILE@PHYS"
    )]
    OutsideImage {
        /// The node.
        node: NodeName,
        /// Its memory.
        range: PhysRange,
        /// What the image holds.
        image: RangeSet,
    },
    /// Nodes clash.
    #[error("nodes `{first}` and `{second}` share {what}: give each its own")]
    Shared {
        /// One node.
        first: NodeName,
        /// The other.
        second: NodeName,
        /// What both have.
        what: &'static str,
    },
    /// Nothing is reserved.
    #[error(
        "no memory is set aside for other nodes: all that the firmware calls System RAM is RAM of this kernel. Start this kernel with memmap=SIZE$START for the other nodes' memory, or name a node: --node NAME=START..END"
    )]
    NothingReserved,
}

impl Target {
    /// Opens the memory source and settles which nodes there are: those of the command line,
    /// else those of the configuration, else whatever will be found.
    ///
    /// # Errors
    /// [`TargetError`], each with what to do.
    pub fn open(config: &Config, specs: &[NodeSpec]) -> Result<Self, TargetError> {
        let configured = if specs.is_empty() {
            config.nodes.iter().map(|node| (node.name.clone(), node.ranges.clone())).collect()
        } else {
            named(specs)
        };
        check_disjoint(&configured)?;
        match config.memory.clone().unwrap_or_default() {
            MemorySource::DevMem => Self::live(configured),
            MemorySource::Raw { path, base } => {
                let image = open_raw(&path, base)?;
                let nodes = in_image(configured, image.ranges())?;
                Ok(Self { memory: Arc::new(image), nodes, guarded: None })
            }
        }
    }

    fn live(configured: Vec<(NodeName, RangeSet)>) -> Result<Self, TargetError> {
        // First what may be missing altogether: privilege, the device.
        open_devmem(RangeSet::new())?;
        let map = MemoryMap::of_this_machine()?;
        let nodes = if configured.is_empty() {
            let within = map.reserved()?;
            if within.is_empty() {
                return Err(TargetError::NothingReserved);
            }
            Nodes::Discovered { prefix: "service", within }
        } else {
            check_memory(&configured, &map)?;
            Nodes::Configured(configured)
        };
        let memory = open_devmem(nodes.memory())?;
        let mut guarded = nodes.memory();
        map.local_apic.ranges().iter().for_each(|&range| guarded.insert(range));
        Ok(Self { memory: Arc::new(memory), nodes, guarded: Some(guarded) })
    }
}

/// The nodes of the command line; those without a name are `node-1`, `node-2`, … by position.
fn named(specs: &[NodeSpec]) -> Vec<(NodeName, RangeSet)> {
    let name = |n: usize, spec: &NodeSpec| {
        spec.name.clone().unwrap_or_else(|| NodeName::numbered("node", n + 1))
    };
    specs.iter().enumerate().map(|(n, spec)| (name(n, spec), spec.ranges.clone())).collect()
}

fn check_disjoint(nodes: &[(NodeName, RangeSet)]) -> Result<(), TargetError> {
    for (n, (first, memory)) in nodes.iter().enumerate() {
        for (second, other) in nodes.iter().skip(n + 1) {
            let what = if first == second {
                "a name"
            } else if !memory.intersection(other).is_empty() {
                "memory"
            } else {
                continue;
            };
            let (first, second) = (first.clone(), second.clone());
            return Err(TargetError::Shared { first, second, what });
        }
    }
    Ok(())
}

/// Checks that no node claims what is node 0's own or a device's.
fn check_memory(nodes: &[(NodeName, RangeSet)], map: &MemoryMap) -> Result<(), TargetError> {
    for (node, ranges) in nodes {
        let node = node.clone();
        if let Some(range) = ranges.intersection(&map.system_ram).ranges().first().copied() {
            let ram = map.system_ram.find(range.start()).copied().unwrap_or(range);
            return Err(TargetError::SystemRam { node, range, ram });
        }
        if let Some(range) = ranges.intersection(&map.devices).ranges().first().copied() {
            return Err(TargetError::Device { node, range });
        }
    }
    Ok(())
}

fn in_image(nodes: Vec<(NodeName, RangeSet)>, image: &RangeSet) -> Result<Nodes, TargetError> {
    if nodes.is_empty() {
        return Ok(Nodes::Discovered { prefix: super::find::IMAGE, within: image.clone() });
    }
    for (node, ranges) in &nodes {
        if let Some(&range) = ranges.ranges().iter().find(|range| !image.covers(range)) {
            return Err(TargetError::OutsideImage {
                node: node.clone(),
                range,
                image: image.clone(),
            });
        }
    }
    Ok(Nodes::Configured(nodes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(specs: &[&str]) -> Vec<(NodeName, RangeSet)> {
        named(&specs.iter().map(|spec| spec.parse().unwrap()).collect::<Vec<_>>())
    }

    /// Check that memory of node 0 and of devices is refused, and reserved memory is not.
    #[test]
    fn what_may_be_a_node() {
        let map = MemoryMap {
            system_ram: "0x1000..0x2000".parse().into_iter().collect(),
            devices: "0xf000..0xf100".parse().into_iter().collect(),
            ..MemoryMap::default()
        };
        assert!(check_memory(&nodes(&["0x2000..0xf000"]), &map).is_ok());
        assert!(matches!(
            check_memory(&nodes(&["a=0x0..0x1001"]), &map),
            Err(TargetError::SystemRam { range, .. }) if range.to_string() == "0x1000..0x1001"
        ));
        assert!(matches!(
            check_memory(&nodes(&["0xf0ff..0xf200"]), &map),
            Err(TargetError::Device { .. })
        ));
    }

    /// Check that two nodes cannot have one name or one byte in common.
    #[test]
    fn nodes_are_apart() {
        assert!(check_disjoint(&nodes(&["0..1", "1..2"])).is_ok());
        for clash in [["a=0..1", "a=1..2"], ["a=0..9", "b=8..10"]] {
            assert!(matches!(check_disjoint(&nodes(&clash)), Err(TargetError::Shared { .. })));
        }
    }

    /// Check that a node must lie in the image it is looked for in.
    #[test]
    fn nodes_in_an_image() {
        let image = "0x1000..0x2000".parse().into_iter().collect();
        assert!(in_image(nodes(&["0x1000..0x2000"]), &image).is_ok());
        assert!(matches!(
            in_image(nodes(&["0x1000..0x2001"]), &image),
            Err(TargetError::OutsideImage { .. })
        ));
    }
}
