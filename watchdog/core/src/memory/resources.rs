//! The lines of `/proc/iomem` (kernel/resource.c, 6.1 to 7.2), and what their names stand for.

use std::fs;

use super::{MapError, PhysAddr, PhysRange};

pub(super) const IOMEM: &str = "/proc/iomem";

/// One line of `/proc/iomem`.
pub(super) struct Resource<'a> {
    pub(super) range: PhysRange,
    pub(super) name: &'a str,
    /// Number of resources that contain it.
    pub(super) depth: usize,
}

/// The lines of `/proc/iomem`. A resource is indented by two spaces for each resource that contains
/// it (`r_show()`, kernel/resource.c).
pub(super) fn resources(text: &str) -> impl Iterator<Item = Result<Resource<'_>, MapError>> {
    text.lines().map(|line| {
        let form = || MapError::Form { path: IOMEM.to_owned(), line: line.to_owned() };
        let (addresses, name) = line.split_once(" : ").ok_or_else(form)?;
        let (start, end) = addresses.trim_start().split_once('-').ok_or_else(form)?;
        let range = inclusive(start, end).ok_or_else(form)?;
        let indent = addresses.len().saturating_sub(addresses.trim_start().len());
        Ok(Resource { range, name, depth: indent / 2 })
    })
}

/// The current content of `/proc/iomem`.
pub(super) fn read_iomem() -> Result<String, MapError> {
    fs::read_to_string(IOMEM).map_err(|error| MapError::Read { path: IOMEM.to_owned(), error })
}

/// Whether a name is that of System RAM, including hot-added RAM: "System RAM (kmem)" and "System
/// RAM (virtio_mem)".
pub(super) fn is_system_ram(name: &str) -> bool {
    name.starts_with("System RAM")
}

/// Whether a name is that of persistent memory, including "Persistent Memory (legacy)" of
/// `memmap=…!…`.
pub(super) fn is_persistent(name: &str) -> bool {
    name.to_ascii_lowercase().starts_with("persistent memory")
}

pub(super) fn is_local_apic(name: &str) -> bool {
    name.eq_ignore_ascii_case("local apic")
}

/// Whether a name stands for memory without a driver (`e820_type_to_string`, arch/x86/kernel/e820.c
/// 6.1).
pub(super) fn is_plain_memory(name: &str) -> bool {
    // Since 6.18 some names are lower case: compare without case.
    let name = name.to_ascii_lowercase();
    ["reserved", "soft reserved", "unknown e820 type", "ram buffer"].contains(&name.as_str())
}

/// A range from two hexadecimal numbers without `0x`, the second inclusive.
pub(super) fn inclusive(start: &str, end: &str) -> Option<PhysRange> {
    let start = u64::from_str_radix(start, 16).ok()?;
    let end = u64::from_str_radix(end, 16).ok()?;
    // The last address of the address space cannot be an exclusive end. No memory lies there.
    PhysRange::new(PhysAddr(start), PhysAddr(end.saturating_add(1)))
}

/// Whether a name is that of a part of this kernel's own image: "Kernel code", "Kernel rodata",
/// "Kernel data" and "Kernel bss" (`setup_arch()`, arch/x86/kernel/setup.c, 6.1 to 7.2).
pub(super) fn is_own_kernel(name: &str) -> bool {
    ["Kernel code", "Kernel rodata", "Kernel data", "Kernel bss"].contains(&name)
}
