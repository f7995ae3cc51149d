//! The target of a command: a memory source, and the nodes in it.

use std::sync::Arc;

use super::error::TargetError;
use super::guarded::guarded;
use super::nodes::Nodes;
use super::reach::{warn, within_reach};
use super::{Found, ImageSpec, Images, NodeName};
use watchdog_core::locate::Stop;
use watchdog_core::memory::{
    LentTo, Memory, MemoryMap, MemorySource, RangeSet, ReadError, Reason, instances, open_devmem,
    open_elf, open_kcore, open_lime, open_live, open_pieces, open_raw,
};

/// Instances of a multikernel pool that a sentence names.
const INSTANCES_SHOWN: usize = 16;

/// A memory source with the nodes in it.
#[derive(Clone)]
pub struct Target {
    /// The memory source.
    pub memory: Arc<dyn Memory>,
    /// The nodes.
    pub nodes: Nodes,
    /// The images that their kernels must match.
    pub images: Images,
    /// Memory that the guard must protect: all memory of all nodes that this kernel does not use
    /// itself, and the registers of the local APIC. Through these registers node 0 could make a
    /// node's CPU run any code. `None` if memory is a file, or this kernel's own.
    pub guarded: Option<RangeSet>,
}

impl Target {
    /// Opens the memory source. `configured` are the nodes that the user named. Without any, every
    /// kernel that the search finds is a node.
    ///
    /// # Errors
    /// [`TargetError`], each with a remedy.
    pub fn open(
        source: &MemorySource,
        configured: Vec<(NodeName, RangeSet)>,
    ) -> Result<Self, TargetError> {
        check_disjoint(&configured)?;
        match source {
            MemorySource::DevMem => Self::devmem(configured),
            MemorySource::Kcore => Self::kcore(configured),
            MemorySource::Live => Self::live(configured),
            MemorySource::Raw { path, base } => Self::image(open_raw(path, *base)?, configured),
            MemorySource::Pieces { path, pieces } => {
                Self::image(open_pieces(path, pieces)?, configured)
            }
            MemorySource::Elf { path } => {
                let core = open_elf(path)?;
                warn(core.remark());
                Self::image(core, configured)
            }
            MemorySource::Lime { path } => {
                let image = open_lime(path)?;
                warn(image.remark());
                Self::image(image, configured)
            }
        }
    }

    /// The same target, with vendor's images that its kernels must match. [`Images::unreadable`]
    /// names files that are no kernel image or cannot be read.
    ///
    /// # Errors
    /// [`TargetError`] if a file is for an unknown node.
    pub fn with_images(self, specs: Vec<ImageSpec>) -> Result<Self, TargetError> {
        let names: Vec<&NodeName> = match &self.nodes {
            Nodes::Configured(nodes) => nodes.iter().map(|(name, _)| name).collect(),
            Nodes::Discovered { .. } => Vec::new(),
        };
        let wanted = specs.iter().filter_map(|spec| spec.node.as_ref());
        if let Some(node) = wanted.into_iter().find(|node| !names.contains(node)) {
            return Err(TargetError::NoSuchNode(node.clone()));
        }
        Ok(Self { images: Images::open(specs), ..self })
    }

    /// Searches for the kernel of every node, as [`Nodes::find`] does.
    ///
    /// # Errors
    /// When memory cannot be read, or the search was stopped.
    pub fn find(
        &self,
        stop: &Stop,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Vec<Found>, ReadError> {
        self.nodes.find(&*self.memory, &self.images, stop, progress)
    }

    /// Nodes in memory that this kernel does not use.
    fn devmem(configured: Vec<(NodeName, RangeSet)>) -> Result<Self, TargetError> {
        // First check what may be missing: privilege, the device.
        open_devmem(RangeSet::new())?;
        let map = MemoryMap::of_this_machine()?;
        let nodes = settle(configured, "service", || reserved(&map))?;
        if let Nodes::Configured(nodes) = &nodes {
            check_devmem(nodes, &map)?;
        }
        let memory = open_devmem(nodes.memory())?.explained_by(map.clone());
        let guarded = Some(guarded(&nodes, &map));
        let nodes = within_reach(nodes, &memory, is_claimed)?;
        Ok(Self { memory: Arc::new(memory), nodes, images: Images::default(), guarded })
    }

    /// Nodes in this kernel's own memory: this kernel, or another one that it has loaded.
    fn kcore(configured: Vec<(NodeName, RangeSet)>) -> Result<Self, TargetError> {
        let map = MemoryMap::of_this_machine()?;
        let all = open_kcore(&map, None)?;
        let nodes = settle(configured, super::find::OWN, || Ok(all.ranges().clone()))?;
        let nodes = within_reach(nodes, &all, |_| false)?;
        // A node's page tables may contain any address. Only the node's own memory is read for it.
        let memory = open_kcore(&map, Some(&nodes.memory()))?;
        Ok(Self { memory: Arc::new(memory), nodes, images: Images::default(), guarded: None })
    }

    /// Nodes anywhere in memory. They are discovered in memory that this kernel does not use.
    fn live(configured: Vec<(NodeName, RangeSet)>) -> Result<Self, TargetError> {
        let map = MemoryMap::of_this_machine()?;
        let nodes = settle(configured, "service", || reserved(&map))?;
        let memory = open_live(&map, &nodes.memory())?;
        warn(memory.remark());
        let guarded = Some(guarded(&nodes, &map));
        let nodes = within_reach(nodes, &memory, is_claimed)?;
        Ok(Self { memory: Arc::new(memory), nodes, images: Images::default(), guarded })
    }

    /// Nodes in a file. The file must have their memory, except for holes: a dump lacks pages that
    /// its writer filtered out, and pages without memory.
    fn image(
        image: impl Memory + 'static,
        configured: Vec<(NodeName, RangeSet)>,
    ) -> Result<Self, TargetError> {
        let nodes = settle(configured, super::find::IMAGE, || Ok(image.ranges().clone()))?;
        let nodes = within_reach(nodes, &image, |reason| matches!(reason, Reason::Hole))?;
        Ok(Self { memory: Arc::new(image), nodes, images: Images::default(), guarded: None })
    }
}

/// The configured nodes, else those to be discovered in `within`.
fn settle(
    configured: Vec<(NodeName, RangeSet)>,
    prefix: &'static str,
    within: impl FnOnce() -> Result<RangeSet, TargetError>,
) -> Result<Nodes, TargetError> {
    if configured.is_empty() {
        return Ok(Nodes::Discovered { prefix, within: within()? });
    }
    Ok(Nodes::Configured(configured))
}

/// The memory where other nodes can be if none is configured.
fn reserved(map: &MemoryMap) -> Result<RangeSet, TargetError> {
    let within = map.reserved()?;
    if within.is_empty() {
        return Err(TargetError::NothingReserved(lent_in_words(map).unwrap_or_default()));
    }
    warn(lent_in_words(map).map(|it| it.trim_start_matches(['.', ' ']).to_owned()));
    warn(map.kernel_in_reserved().map(|it| format!("{it} {}", Reason::OwnKernel)));
    Ok(within)
}

/// Memory of the machine that this kernel lends to instances, as a sentence with the options that
/// name them as nodes. `None` if there is none.
fn lent_in_words(map: &MemoryMap) -> Option<String> {
    let instances = instances(&map.lent);
    let node = |(to, memory): (&LentTo, &RangeSet)| {
        format!(" --node {}={}", to.node_name(), memory.in_brief())
    };
    let nodes: String = instances.iter().take(INSTANCES_SHOWN).map(node).collect();
    (!nodes.is_empty()).then(|| {
        format!(
            ". This kernel lends memory to {} instances of its multikernel pool. It still owns \
             that memory, so the guard does not cover it. To look at their kernels: watchdog scan \
             --memory live{nodes}",
            instances.len()
        )
    })
}

/// Whether a part is left out with a warning. A driver's claim takes nothing else away.
fn is_claimed(reason: &Reason) -> bool {
    matches!(reason, Reason::Claimed(_))
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

/// Checks that no node claims memory of node 0 or of a device.
fn check_devmem(nodes: &[(NodeName, RangeSet)], map: &MemoryMap) -> Result<(), TargetError> {
    for (node, ranges) in nodes {
        if let Some(refusal) = ranges.ranges().iter().find_map(|range| map.refusal_of_devmem(range))
        {
            return Err(TargetError::Refused { node: node.clone(), refusal });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::named;
    use watchdog_core::memory::{PhysAddr, PhysRange, Refusal};

    fn nodes(specs: &[&str]) -> Vec<(NodeName, RangeSet)> {
        named(&specs.iter().map(|spec| spec.parse().unwrap()).collect::<Vec<_>>())
    }

    /// Check that memory of node 0 and of devices is refused, and that reserved memory is accepted.
    #[test]
    fn what_may_be_a_node() {
        let map = MemoryMap {
            system_ram: "0x1000..0x2000".parse().into_iter().collect(),
            devices: "0xf000..0xf100".parse().into_iter().collect(),
            ..MemoryMap::default()
        };
        let refused = |node: &str| match check_devmem(&nodes(&[node]), &map) {
            Err(TargetError::Refused { refusal, .. }) => refusal,
            other => panic!("{node}: {other:?}"),
        };
        assert!(check_devmem(&nodes(&["0x2000..0xf000"]), &map).is_ok());
        let ram = refused("a=0x0..0x1001");
        assert_eq!(ram.range.to_string(), "0x1000..0x1001");
        assert!(matches!(ram.reason, Reason::SystemRam(ram) if ram.size() == 0x1000));
        assert!(matches!(refused("0xf0ff..0xf200").reason, Reason::Device));
    }

    /// Check that two nodes cannot share a name or a byte of memory.
    #[test]
    fn nodes_are_apart() {
        assert!(check_disjoint(&nodes(&["0..1", "1..2"])).is_ok());
        for clash in [["a=0..1", "a=1..2"], ["a=0..9", "b=8..10"]] {
            assert!(matches!(check_disjoint(&nodes(&clash)), Err(TargetError::Shared { .. })));
        }
    }

    /// Memory whose missing parts have different reasons.
    struct Image(RangeSet);

    impl Memory for Image {
        fn ranges(&self) -> &RangeSet {
            &self.0
        }

        fn refusal(&self, range: &PhysRange) -> Option<Refusal> {
            let missing = self.0.first_missing(range)?;
            let hole = missing.end() <= PhysAddr(0x4000);
            Some(Refusal {
                range: missing,
                reason: if hole { Reason::Hole } else { Reason::CutShort },
            })
        }

        fn read(&self, _: PhysAddr, _: &mut [u8]) -> Result<(), ReadError> {
            unreachable!("nothing is read")
        }
    }

    /// Check that the image must have a node's memory, and that holes are left out if anything
    /// remains. Check that without configured nodes all of the image is searched.
    #[test]
    fn nodes_in_an_image() {
        let held = || ["0x1000..0x2000", "0x3000..0x5000"].iter().flat_map(|range| range.parse());
        let open = |specs: &[&str]| Target::image(Image(held().collect()), nodes(specs));
        let reached = |specs: &[&str]| open(specs).map(|target| target.nodes.memory().to_string());
        assert_eq!(reached(&["0x1800..0x2000"]).unwrap(), "0x1800..0x2000");
        assert_eq!(reached(&["0x1800..0x3800"]).unwrap(), "0x1800..0x2000,0x3000..0x3800");
        assert_eq!(reached(&[]).unwrap(), "0x1000..0x2000,0x3000..0x5000");
        for (node, part) in
            [("0x2000..0x3000", "0x2000..0x3000"), ("0x4000..0x6000", "0x5000..0x6000")]
        {
            let refused = open(&[node]).map(|target| target.nodes.memory());
            let Err(TargetError::Refused { refusal, .. }) = &refused else {
                panic!("{node}: {refused:?}");
            };
            assert_eq!(refusal.range.to_string(), part, "{node}");
        }
    }
}
