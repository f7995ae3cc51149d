//! Live memory: System RAM of this kernel through `/proc/kcore`, all other memory through
//! `/dev/mem`.
//!
//! If one source is missing, the other one is served alone. Lockdown for integrity refuses
//! `/dev/mem`, but not `/proc/kcore` (`enum lockdown_reason`, include/linux/security.h, 6.1). A
//! kernel may also be built without either.

use std::sync::Arc;

use super::reading::admit;
use super::refusal::{Reason, Refusal};
use super::{
    DevMem, Kcore, Memory, MemoryMap, PhysAddr, PhysRange, RangeSet, ReadError, SourceError,
};

/// Live memory.
#[derive(Debug)]
pub struct Live {
    map: MemoryMap,
    ram: Result<Kcore, Arc<SourceError>>,
    rest: Result<DevMem, Arc<SourceError>>,
    ranges: RangeSet,
}

impl Live {
    /// Combines both sources, of which one may be missing, on a machine with this memory map.
    ///
    /// # Errors
    /// [`SourceError::Neither`] if both are missing.
    pub fn new(
        map: MemoryMap,
        ram: Result<Kcore, SourceError>,
        rest: Result<DevMem, SourceError>,
    ) -> Result<Self, SourceError> {
        let (ram, rest) = match (ram, rest) {
            (Err(kcore), Err(devmem)) => {
                let (kcore, devmem) = (Box::new(kcore), Box::new(devmem));
                return Err(SourceError::Neither { kcore, devmem });
            }
            (ram, rest) => (ram.map_err(Arc::new), rest.map_err(Arc::new)),
        };
        let ranges = [ram.as_ref().map(Memory::ranges), rest.as_ref().map(Memory::ranges)];
        let ranges = ranges.into_iter().flatten().flat_map(RangeSet::ranges).copied().collect();
        Ok(Self { map, ram, rest, ranges })
    }

    /// The part of `asked` that `/dev/mem` must serve. It has no page with System RAM, because
    /// `/dev/mem` refuses those pages, and no device memory.
    #[must_use]
    pub fn beside_ram(map: &MemoryMap, asked: &RangeSet) -> RangeSet {
        asked.difference(&ram_pages(map)).difference(&map.devices)
    }

    /// A remark if one source is missing.
    #[must_use]
    pub fn remark(&self) -> Option<String> {
        match (&self.ram, &self.rest) {
            (Err(error), _) => Some(format!("System RAM of this kernel cannot be read: {error}")),
            (_, Err(error)) => Some(format!(
                "memory that is not System RAM of this kernel cannot be read: {error}"
            )),
            (Ok(_), Ok(_)) => None,
        }
    }
}

impl Memory for Live {
    fn ranges(&self) -> &RangeSet {
        &self.ranges
    }

    fn refusal(&self, range: &PhysRange) -> Option<Refusal> {
        let missing = self.ranges.first_missing(range)?;
        let part = |range, reason| Some(Refusal { range, reason });
        if let Some(device) = self.map.devices.parts(&missing).next() {
            return part(device, Reason::Device);
        }
        if let Some(ram) = self.map.system_ram.parts(&missing).next() {
            return match &self.ram {
                Ok(kcore) => kcore.refusal(&ram),
                Err(error) => part(ram, Reason::Unavailable(Arc::clone(error))),
            };
        }
        if let Some(shared) = ram_pages(&self.map).parts(&missing).next() {
            return part(shared, Reason::SharedPage);
        }
        match &self.rest {
            Ok(devmem) => devmem.refusal(&missing),
            Err(error) => part(missing, Reason::Unavailable(Arc::clone(error))),
        }
    }

    fn read(&self, at: PhysAddr, buffer: &mut [u8]) -> Result<(), ReadError> {
        let Some(wanted) = admit(self, at, buffer.len(), || "live".to_owned())? else {
            return Ok(());
        };
        if let Ok(kcore) = &self.ram {
            read_parts(kcore, &wanted, buffer)?;
        }
        if let Ok(devmem) = &self.rest {
            read_parts(devmem, &wanted, buffer)?;
        }
        Ok(())
    }
}

/// All pages that contain System RAM, even in part.
fn ram_pages(map: &MemoryMap) -> RangeSet {
    map.system_ram.ranges().iter().map(PhysRange::whole_pages).collect()
}

/// Fills the parts of `buffer` that `memory` serves. `buffer` stands for the range `wanted`.
fn read_parts(memory: &dyn Memory, wanted: &PhysRange, buffer: &mut [u8]) -> Result<(), ReadError> {
    for part in memory.ranges().parts(wanted) {
        let offset = part.start().checked_sub(wanted.start()).unwrap_or_default();
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(part.size()).unwrap_or(usize::MAX));
        if let Some(bytes) = buffer.get_mut(start..end) {
            memory.read(part.start(), bytes)?;
        }
    }
    Ok(())
}
