//! The data in memory that Linux's boot protocol requires (Documentation/arch/x86/boot.rst).

use std::{fs, fs::File, ops::Range, path::Path};

use anyhow::{Context, Result, ensure};
use linux_loader::{
    configurator::{BootConfigurator, BootParams, linux::LinuxBootConfigurator},
    loader::{
        KernelLoader,
        bootparam::{boot_e820_entry, boot_params, setup_header},
        bzimage::BzImage,
    },
};
use vm_memory::GuestAddress;
use watchdog_tests::layout;

use crate::memory::NodeMemory;

const MIB: u64 = 1 << 20;

/// Smallest node: boot data, a decompressed kernel and an initramfs.
pub(crate) const SMALLEST_NODE: u64 = 192 * MIB;

/// Offset at which the kernel is loaded, and the space reserved for the initramfs at the end.
const KERNEL_OFFSET: u64 = 16 * MIB;
const INITRD_ROOM: u64 = 64 * MIB;

/// Offset of a bzImage's 64-bit entry point from its load address.
const ENTRY_64: u64 = 0x200;

const COMMAND_LINE_ROOM: usize = 0x1000;
const LOADER_UNDEFINED: u8 = 0xff;
const LOADED_HIGH: u8 = 1;
const E820_RAM: u32 = 1;
const E820_RESERVED: u32 = 2;
const E820_ACPI: u32 = 3;

/// A node and its main range, physical.
pub(crate) struct Placement {
    /// The node's number.
    pub(crate) node: u8,
    /// Its main memory, without its memory below 1 MiB and its low memory.
    pub(crate) main: Range<u64>,
}

impl Placement {
    /// boot_params, the "zero page".
    pub(crate) fn boot_params(&self) -> u64 {
        self.main.start
    }

    fn command_line(&self) -> u64 {
        self.main.start + 0x1000
    }

    /// The first page tables: six pages.
    pub(crate) fn page_tables(&self) -> u64 {
        self.main.start + 0x2000
    }

    /// The ACPI tables, RSDP first.
    pub(crate) fn acpi(&self) -> u64 {
        self.main.start + 0x8000
    }

    /// The mailbox, in pages that the node's memory map reserves.
    pub(crate) fn mailbox(&self) -> u64 {
        self.main.start + layout::MAILBOX_OFFSET
    }

    fn kernel(&self) -> u64 {
        self.main.start + KERNEL_OFFSET
    }

    fn initrd(&self) -> u64 {
        self.main.end - INITRD_ROOM
    }

    /// The node's memory map. Linux ignores a map of fewer than two entries
    /// (arch/x86/kernel/e820.c, `append_e820_table`, 6.1). It panics without memory below 1 MiB for
    /// its real-mode trampoline (arch/x86/realmode/init.c).
    fn memory_map(&self) -> [boot_e820_entry; 5] {
        let entry = |range: Range<u64>, kind| boot_e820_entry {
            addr: range.start,
            size: range.end - range.start,
            r#type: kind,
        };
        let mailbox = self.mailbox()..self.mailbox() + layout::MAILBOX_SIZE;
        [
            entry(layout::real_mode_range(self.node), E820_RAM),
            entry(layout::low_range(self.node), E820_RAM),
            entry(self.main.start..mailbox.start, E820_ACPI),
            entry(mailbox.clone(), E820_RESERVED),
            entry(mailbox.end..self.main.end, E820_RAM),
        ]
    }
}

/// Returns the node's kernel command line: the options for a kernel beside others, then `append`.
pub(crate) fn command_line(placement: &Placement, tsc_khz: u32, append: &str) -> String {
    let uart = layout::uart_port(placement.node);
    let mailbox = placement.mailbox();
    // `pci=off` and `8250.nr_uarts=0`: devices belong to node 0. `earlycon` uses the node's UART
    // without claiming it.
    format!(
        "pci=off nr_cpus=1 tsc_early_khz={tsc_khz} tsc=reliable 8250.nr_uarts=0 \
         earlycon=uart8250,io,{uart:#x},115200n8 keep_bootcon \
         watchdog.mailbox={mailbox:#x} {append}"
    )
    .trim_end()
    .to_owned()
}

/// Puts kernel, initramfs, command line and boot_params into the node's memory. Returns the
/// physical address of the kernel's 64-bit entry point.
pub(crate) fn load(
    memory: &NodeMemory,
    placement: &Placement,
    kernel: &Path,
    initrd: &Path,
    command_line: &str,
) -> Result<u64> {
    let mut image =
        File::open(kernel).with_context(|| format!("cannot read kernel {}", kernel.display()))?;
    let load_at = GuestAddress(placement.kernel());
    let header = BzImage::load(memory.guest(), Some(load_at), &mut image, None)
        .with_context(|| format!("cannot load {} as a bzImage", kernel.display()))?
        .setup_header
        .context("the kernel has no setup header")?;
    // `init_size` is the memory that the kernel needs from its load address on, until it has its
    // own memory map.
    let kernel_end = placement.kernel() + u64::from(header.init_size);
    ensure!(
        kernel_end <= placement.initrd(),
        "{} needs memory up to {kernel_end:#x}, and its initramfs begins at {:#x}: \
         give the node more with --size",
        kernel.display(),
        placement.initrd()
    );

    let initrd_size = load_initrd(memory, placement, initrd)?;
    ensure!(command_line.len() < COMMAND_LINE_ROOM, "the command line is too long");
    let mut terminated = command_line.as_bytes().to_vec();
    terminated.push(0);
    memory.write(placement.command_line(), &terminated)?;

    let parameters = boot_parameters(placement, header, initrd_size)?;
    LinuxBootConfigurator::write_bootparams(
        &BootParams::new(&parameters, GuestAddress(placement.boot_params())),
        memory.guest(),
    )
    .context("cannot write boot_params")?;
    Ok(placement.kernel() + ENTRY_64)
}

fn load_initrd(memory: &NodeMemory, placement: &Placement, initrd: &Path) -> Result<u32> {
    let content =
        fs::read(initrd).with_context(|| format!("cannot read initramfs {}", initrd.display()))?;
    let size = u32::try_from(content.len()).unwrap_or(u32::MAX);
    ensure!(
        u64::from(size) <= INITRD_ROOM,
        "initramfs {} is larger than {} MiB",
        initrd.display(),
        INITRD_ROOM / MIB
    );
    memory.write(placement.initrd(), &content)?;
    Ok(size)
}

fn boot_parameters(
    placement: &Placement,
    header: setup_header,
    initrd_size: u32,
) -> Result<boot_params> {
    let mut parameters = boot_params { hdr: header, ..Default::default() };
    parameters.hdr.type_of_loader = LOADER_UNDEFINED;
    parameters.hdr.loadflags |= LOADED_HIGH;
    parameters.hdr.ramdisk_image = u32::try_from(placement.initrd())?;
    parameters.hdr.ramdisk_size = initrd_size;
    parameters.hdr.cmd_line_ptr = u32::try_from(placement.command_line())?;
    parameters.acpi_rsdp_addr = placement.acpi();
    let map = placement.memory_map();
    parameters.e820_table[..map.len()].copy_from_slice(&map);
    parameters.e820_entries = u8::try_from(map.len())?;
    Ok(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that a node's memory map covers its main range without a gap, and that the mailbox is
    /// not part of its RAM.
    #[test]
    fn memory_map_covers_the_node() {
        let placement = Placement { node: 1, main: layout::main_range(1) };
        let map = placement.memory_map();
        let mut at = placement.main.start;
        for entry in &map[2..] {
            assert_eq!({ entry.addr }, at);
            at += entry.size;
        }
        assert_eq!(at, placement.main.end);
        let mailbox = layout::mailbox_range(1);
        let of_mailbox = map.iter().find(|entry| { entry.addr } == mailbox.start);
        let of_mailbox = of_mailbox.expect("an entry of its own");
        assert_eq!(({ of_mailbox.size }, { of_mailbox.r#type }), (0x1_0000, E820_RESERVED));
    }
}
