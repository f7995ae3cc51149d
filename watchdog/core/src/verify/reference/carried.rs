//! The symbols that an image carries for kallsyms.

use super::{ImageSymbols, ReferenceError};
use crate::image::KernelImage;
use crate::locate::{Budget, kallsyms};
use crate::memory::{Memory, PhysAddr, PhysRange, RangeSet, ReadError, VirtAddr};

impl ImageSymbols {
    /// Reads the symbols that the image itself carries for kallsyms; `None` if it has none that
    /// parse.
    pub(super) fn of_kallsyms(image: &KernelImage) -> Result<Option<Self>, ReferenceError> {
        let rodata = image
            .section(".rodata")
            .ok_or_else(|| ReferenceError("has no `.rodata`".to_owned()))?;
        let flat = Flat::of(image);
        let mut budget = Budget::for_memory(image.all().len() as u64);
        let first = flat.base.0.wrapping_add(rodata.offset.into());
        let end = first.wrapping_add(rodata.size.into());
        let range = PhysRange::new(PhysAddr(first), PhysAddr(end));
        let claim = range.and_then(|range| kallsyms::find(&flat, range, &mut budget));
        let Some(claim) = claim else { return Ok(None) };
        let is_elsewhere = claim.phys.is_some_and(|phys| phys != flat.base);
        if is_elsewhere || claim.size != image.vendor.text_size() {
            let of_section = image.vendor.text_size();
            let beginning = if is_elsewhere { "begins elsewhere" } else { "begins there" };
            return Err(ReferenceError(format!(
                "contradicts itself about where its text is: `.text` has {of_section} bytes, and \
                 by its symbols the text {beginning} and has {} bytes",
                claim.size
            )));
        }
        Ok(Some(Self::of(&claim.symbols, claim.virt.unwrap_or(VirtAddr(flat.base.0)))))
    }
}

/// A laid-out image as memory, at the address where the boot loader would put it.
struct Flat<'a> {
    bytes: &'a [u8],
    base: PhysAddr,
    ranges: RangeSet,
}

impl<'a> Flat<'a> {
    fn of(image: &'a KernelImage) -> Self {
        // `__START_KERNEL_map` maps physical address 0, so this is the address without KASLR.
        let base = PhysAddr(image.vendor.text_virt().0 & 0x7fff_ffff);
        let range = PhysRange::with_size(base, image.all().len() as u64);
        Self { bytes: image.all(), base, ranges: range.into_iter().collect() }
    }
}

impl Memory for Flat<'_> {
    fn ranges(&self) -> &RangeSet {
        &self.ranges
    }

    fn read(&self, at: PhysAddr, buffer: &mut [u8]) -> Result<(), ReadError> {
        let start = at.checked_sub(self.base).and_then(|start| usize::try_from(start).ok());
        let bytes = start
            .and_then(|start| self.bytes.get(start..)?.get(..buffer.len()))
            .ok_or_else(|| ReadError::Outside {
                at,
                length: buffer.len() as u64,
                source_name: "a kernel image".to_owned(),
            })?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}
