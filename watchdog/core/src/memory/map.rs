//! Node 0's memory map: what the firmware calls memory, and what node 0 uses as RAM.
//!
//! `/sys/firmware/memmap` is the firmware's own map, before the kernel applies `memmap=`
//! (drivers/firmware/memmap.c). `/proc/iomem` is the map of the running kernel (kernel/resource.c).
//! Without `CAP_SYS_ADMIN`, it shows zeroes for addresses.

use std::fs;
use std::io;
use std::path::Path;

use super::lent::{Lent, LentTo, instances};
use super::resources::{
    Resource, inclusive, is_local_apic, is_own_kernel, is_persistent, is_plain_memory,
    is_system_ram, read_iomem, resources,
};
use super::{MapError, PhysAddr, PhysRange, RangeSet, Reason, Refusal};

/// The page of the local APIC's registers, at the default address of `IA32_APIC_BASE`
/// (`APIC_DEFAULT_PHYS_BASE`, arch/x86/include/asm/apicdef.h).
const LOCAL_APIC: PhysRange = PhysRange::page_at(PhysAddr(0xfee0_0000));

/// Largest size of the part of a kernel image that no resource names: it lies behind the BSS
/// (`.brk`, arch/x86/kernel/vmlinux.lds.S, 6.12).
const BEHIND_BSS: u64 = 16 << 20;

/// Node 0's view of physical memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryMap {
    /// The memory that the firmware calls System RAM.
    pub firmware_ram: RangeSet,
    /// The RAM of node 0: its allocator owns these frames.
    pub system_ram: RangeSet,
    /// Persistent memory of node 0, including that of `memmap=…!…`. Part of `devices`.
    pub persistent: RangeSet,
    /// Memory that belongs to devices or that drivers claim: never read.
    pub devices: RangeSet,
    /// The local APIC's registers, through which one CPU starts another. Part of `devices`.
    pub local_apic: RangeSet,
    /// Memory that node 0 lends to another kernel. It may be a part of `system_ram`.
    pub lent: Vec<Lent>,
    /// Memory that drivers claim inside other memory, with the name of the claim. `/dev/mem` may
    /// refuse it, or not: that depends on the kernel's configuration.
    pub claimed: Vec<(PhysRange, String)>,
    /// The image of node 0's own kernel. Part of `system_ram`.
    pub own_kernel: RangeSet,
}

impl MemoryMap {
    /// The map of the running machine.
    ///
    /// # Errors
    /// [`MapError`]. A missing firmware map is not an error here; see [`Self::reserved`].
    pub fn of_this_machine() -> Result<Self, MapError> {
        let iomem = read_iomem()?;
        let firmware_ram = read_firmware_map(Path::new("/sys/firmware/memmap"))?;
        Ok(Self { firmware_ram, ..parse_iomem(&iomem)? })
    }

    /// Memory that the firmware calls System RAM and node 0 does not use. Other nodes live there.
    ///
    /// # Errors
    /// [`MapError::NoFirmwareMap`] if the firmware's map is missing.
    pub fn reserved(&self) -> Result<RangeSet, MapError> {
        if self.firmware_ram.is_empty() {
            return Err(MapError::NoFirmwareMap);
        }
        let unused = self.firmware_ram.difference(&self.system_ram).difference(&self.devices);
        Ok(unused.difference(&self.lent_memory()).difference(&self.own_kernel))
    }

    /// All memory that node 0 lends to other kernels.
    #[must_use]
    pub fn lent_memory(&self) -> RangeSet {
        self.lent.iter().map(|lent| lent.range).collect()
    }

    /// The memory of node 0's own kernel image, if reserved memory surrounds it.
    ///
    /// The kernel places itself before it applies `memmap=`. It then makes its image System RAM
    /// again (`e820_add_kernel_range()`, arch/x86/kernel/setup.c, 6.1 to 7.2), and nothing else.
    #[must_use]
    pub fn kernel_in_reserved(&self) -> Option<PhysRange> {
        let own = self.own_kernel.ranges();
        let image = PhysRange::new(own.first()?.start(), own.last()?.end())?;
        let ram = self.system_ram.find(image.start()).copied().unwrap_or(image);
        let behind = ram.end().checked_sub(image.end())?;
        let reserved = self.reserved().ok()?;
        let touches = |range: &&PhysRange| range.end() == ram.start() || ram.end() == range.start();
        let is_surrounded = reserved.ranges().iter().filter(touches).count() == 2;
        let is_its_own = ram.start().page() == image.start().page() && behind <= BEHIND_BSS;
        (is_surrounded && is_its_own).then_some(ram)
    }

    /// Why `/dev/mem` does not show all of `range`: a part is lent, RAM of this kernel, persistent
    /// memory or a device's.
    #[must_use]
    pub fn refusal_of_devmem(&self, range: &PhysRange) -> Option<Refusal> {
        if let Some(refusal) = refusal_of_lent(&self.lent, range) {
            return Some(refusal);
        }
        let own = self.kernel_in_reserved();
        if let Some(part) = own.and_then(|own| own.intersection(range)) {
            return Some(Refusal { range: part, reason: Reason::OwnKernel });
        }
        if let Some(part) = self.system_ram.parts(range).next() {
            let ram = self.system_ram.find(part.start()).copied().unwrap_or(part);
            return Some(Refusal { range: part, reason: Reason::SystemRam(ram) });
        }
        if let Some(range) = self.persistent.parts(range).next() {
            return Some(Refusal { range, reason: Reason::Persistent });
        }
        let range = self.devices.parts(range).next()?;
        Some(Refusal { range, reason: Reason::Device })
    }
}

/// The refusal of `/dev/mem` to show the part of `range` that is lent. An instance takes
/// precedence over the pool around it.
fn refusal_of_lent(lent: &[Lent], range: &PhysRange) -> Option<Refusal> {
    let parts = lent.iter().filter_map(|it| Some((it.range.intersection(range)?, it)));
    let (part, Lent { range, to }) = parts.min_by_key(|(_, it)| it.to.clone())?;
    let memory = instances(lent).remove(to).unwrap_or_else(|| [*range].into_iter().collect());
    let node = format!("--node {}={}", to.node_name(), memory.in_brief());
    Some(Refusal { range: part, reason: Reason::Lent(to.clone(), node) })
}

/// Parses `/proc/iomem`, which gives everything but the firmware's map.
pub(super) fn parse_iomem(text: &str) -> Result<MemoryMap, MapError> {
    let mut map = MemoryMap::default();
    // Not every kernel lists it (6.12 and 7.2 may not), but it always exists.
    map.local_apic.insert(LOCAL_APIC);
    map.devices.insert(LOCAL_APIC);
    let mut all_zero = true;
    for resource in resources(text) {
        let Resource { range, name, depth } = resource?;
        all_zero &= range.size() == 1 && range.start().0 == 0;
        if is_local_apic(name) {
            map.local_apic.insert(range);
        }
        if is_system_ram(name) {
            // At any depth: RAM that is added later may lie inside reserved memory.
            map.system_ram.insert(range);
        } else if let Some(to) = LentTo::by_name(name) {
            map.lent.push(Lent { range, to });
        } else if is_own_kernel(name) {
            map.own_kernel.insert(range);
        } else if !is_plain_memory(name) {
            if depth == 0 {
                map.devices.insert(range);
            } else {
                // Its parent is classified already.
                map.claimed.push((range, name.to_owned()));
            }
        }
        if is_persistent(name) {
            map.persistent.insert(range);
        }
    }
    if all_zero {
        return Err(MapError::Hidden);
    }
    Ok(map)
}

/// Reads the firmware's map: one directory for each entry, with `start`, `end` and `type`.
fn read_firmware_map(directory: &Path) -> Result<RangeSet, MapError> {
    let mut ram = RangeSet::new();
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ram),
        Err(error) => {
            return Err(MapError::Read { path: directory.display().to_string(), error });
        }
    };
    for entry in entries.flatten() {
        let field = |name: &str| {
            let path = entry.path().join(name);
            fs::read_to_string(&path)
                .map(|text| text.trim().to_owned())
                .map_err(|error| MapError::Read { path: path.display().to_string(), error })
        };
        if field("type")? != "System RAM" {
            continue;
        }
        let (start, end) = (field("start")?, field("end")?);
        let range = inclusive(start.trim_start_matches("0x"), end.trim_start_matches("0x"))
            .ok_or_else(|| MapError::Form {
                path: entry.path().display().to_string(),
                line: format!("{start} {end}"),
            })?;
        ram.insert(range);
    }
    Ok(ram)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IOMEM: &str = "\
00000000-00000fff : Reserved
00001000-0001ffff : System RAM
00020000-0009ffff : Reserved
000a0000-000bffff : PCI Bus 0000:00
000f0000-000fffff : System ROM
00100000-001fffff : System RAM
00200000-005fffff : Reserved
00600000-1fffffff : System RAM
  10000000-10e00fff : Kernel code
20000000-67ffffff : Reserved
68000000-7ffdffff : System RAM
fee00000-fee00fff : Local APIC
";

    fn range(start: u64, end: u64) -> PhysRange {
        PhysRange::new(PhysAddr(start), PhysAddr(end)).unwrap()
    }

    /// Check that reserved memory is the firmware's RAM without node 0's RAM, to the byte.
    #[test]
    fn reserved_memory() {
        let directory = tempfile::tempdir().unwrap();
        for (n, (start, end, kind)) in [
            ("0x0", "0x9fbff", "System RAM"),
            ("0x9fc00", "0x9ffff", "Reserved"),
            ("0x100000", "0x7ffdffff", "System RAM"),
        ]
        .iter()
        .enumerate()
        {
            let entry = directory.path().join(n.to_string());
            fs::create_dir(&entry).unwrap();
            fs::write(entry.join("start"), format!("{start}\n")).unwrap();
            fs::write(entry.join("end"), format!("{end}\n")).unwrap();
            fs::write(entry.join("type"), format!("{kind}\n")).unwrap();
        }
        let firmware_ram = read_firmware_map(directory.path()).unwrap();
        let map = MemoryMap { firmware_ram, ..parse_iomem(IOMEM).unwrap() };
        let expected = RangeSet::from_iter([
            range(0, 0x1000),
            range(0x20000, 0x9fc00),
            range(0x20_0000, 0x60_0000),
            range(0x2000_0000, 0x6800_0000),
        ]);
        assert_eq!(map.reserved().unwrap(), expected);
        assert!(map.devices.overlaps(&range(0xfee0_0000, 0xfee0_0001)));
        assert_eq!(map.local_apic.ranges(), [range(0xfee0_0000, 0xfee0_1000)]);
    }

    /// Check that memory added inside reserved memory is RAM. Check that both kinds of persistent
    /// memory are refused as such, and that nodes cannot live there.
    #[test]
    fn inside_of_reserved_memory() {
        let iomem = "\
20000000-4fffffff : Reserved
  28000000-2fffffff : System RAM (kmem)
50000000-5fffffff : Persistent Memory (legacy)
  50000000-5fffffff : namespace0.0
60000000-67ffffff : Persistent Memory
  60000000-63ffffff : dax0.0
    60000000-63ffffff : System RAM (kmem)
";
        let firmware_ram = RangeSet::from_iter([range(0x2000_0000, 0x6000_0000)]);
        let map = MemoryMap { firmware_ram, ..parse_iomem(iomem).unwrap() };
        let expected =
            RangeSet::from_iter([range(0x2000_0000, 0x2800_0000), range(0x3000_0000, 0x5000_0000)]);
        assert_eq!(map.reserved().unwrap(), expected);
        let reason = |at| map.refusal_of_devmem(&range(at, at + 0x1000)).map(|it| it.reason);
        assert!(matches!(reason(0x2800_0000), Some(Reason::SystemRam(_))));
        assert!(matches!(reason(0x6000_0000), Some(Reason::SystemRam(_))));
        for at in [0x5000_0000, 0x6400_0000] {
            assert!(matches!(reason(at), Some(Reason::Persistent)));
        }
        assert!(reason(0x3000_0000).is_none());
    }

    /// Check that a map without addresses, as an unprivileged reader sees it, is called hidden, not
    /// empty.
    #[test]
    fn hidden_addresses() {
        let hidden = "00000000-00000000 : Reserved\n00000000-00000000 : System RAM\n";
        assert!(matches!(parse_iomem(hidden), Err(MapError::Hidden)));
    }

    /// Check that a machine without the firmware's map gives the error that asks for --node.
    #[test]
    fn no_firmware_map() {
        let empty = read_firmware_map(Path::new("/nonexistent/memmap")).unwrap();
        let map = MemoryMap { firmware_ram: empty, ..MemoryMap::default() };
        assert!(matches!(map.reserved(), Err(MapError::NoFirmwareMap)));
    }
}
