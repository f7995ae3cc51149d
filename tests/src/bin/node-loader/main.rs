//! Starts a Linux kernel on another processor of the same machine, in memory that the running
//! kernel does not use.
//!
//! The loader only uses mappings of `/dev/mem`, so the running kernel needs no patch and no module.
//! It must have been booted with
//!
//! - `maxcpus=1` (or `nr_cpus=`), so that the other processors are idle;
//! - `memmap=SIZE$START` for the node's memory, which must be reserved and not usable RAM:
//!   `/dev/mem` refuses RAM, and the kernel would allocate it;
//! - `iomem=relaxed`, so that the local APIC may be mapped.
//!
//! # Memory of a node
//!
//! | offset in the node's main range | content |
//! |---|---|
//! | 0x0 | boot_params, the "zero page" |
//! | 0x1000 | kernel command line |
//! | 0x2000 | six pages of page tables that map 4 GiB one to one |
//! | 0x8000 | ACPI tables |
//! | 0x10000 | 64 KiB mailbox, reserved in the node's memory map |
//! | 0x1000000 | the kernel, as bzImage |
//! | 64 MiB before the end | initramfs |

mod acpi;
mod apic;
mod boot;
mod memory;
mod page_tables;
mod trampoline;
mod tsc;

use std::{ops::Range, path::PathBuf};

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand};
use watchdog_tests::layout;

use crate::{apic::LocalApic, boot::Placement, memory::NodeMemory};

/// Start Linux kernels on idle processors, each in memory of its own.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Load a kernel into a node's memory and start it.
    Start(Start),
    /// Halt a node's processor until the node is started again.
    Stop {
        /// Which node; also the APIC id of its processor.
        #[arg(long, value_parser = clap::value_parser!(u8).range(1..))]
        node: u8,
    },
}

#[derive(Args)]
struct Start {
    /// Which node; also the APIC id of its processor.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..))]
    node: u8,
    /// The kernel, a bzImage such as /boot/vmlinuz-*.
    #[arg(long)]
    kernel: PathBuf,
    /// Its initramfs.
    #[arg(long)]
    initrd: PathBuf,
    /// First physical address of the node's memory [default: by the node machine's layout].
    #[arg(long, value_parser = address)]
    base: Option<u64>,
    /// Bytes of the node's memory, at least 192 MiB [default: by the node machine's layout].
    #[arg(long, value_parser = address)]
    size: Option<u64>,
    /// Words to add to the node's kernel command line.
    #[arg(long, default_value = "")]
    append: String,
    /// Frequency of the time-stamp counter in kHz [default: from this kernel's messages].
    #[arg(long)]
    tsc_khz: Option<u32>,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Start(start) => start.run(),
        Command::Stop { node } => LocalApic::map()?.halt(node),
    }
}

impl Start {
    fn run(&self) -> Result<()> {
        let main = self.main_range()?;
        let tsc_khz = match self.tsc_khz {
            Some(khz) => khz,
            None => tsc::frequency_of_this_machine()?,
        };
        let placement = Placement { node: self.node, main };
        let apic = LocalApic::map()?;
        // The processor must stop before its memory is filled again.
        apic.halt(self.node)?;

        let memory = NodeMemory::map(&placement.main)?;
        memory.clear_mailbox(&placement)?;
        page_tables::write(&memory, placement.page_tables())?;
        acpi::write(&memory, placement.acpi(), self.node)?;
        let command_line = boot::command_line(&placement, tsc_khz, &self.append);
        let entry = boot::load(&memory, &placement, &self.kernel, &self.initrd, &command_line)?;
        trampoline::write(&trampoline::Target {
            page_tables: placement.page_tables(),
            boot_params: placement.boot_params(),
            entry,
        })?;
        apic.start(self.node, layout::TRAMPOLINE)?;
        println!(
            "node {}: started at {entry:#x} in {:#x}..{:#x} with `{command_line}`",
            self.node, placement.main.start, placement.main.end
        );
        Ok(())
    }

    fn main_range(&self) -> Result<Range<u64>> {
        let default = layout::main_range(self.node);
        let start = self.base.unwrap_or(default.start);
        let size = self.size.unwrap_or(default.end - default.start);
        ensure!(start.is_multiple_of(0x20_0000), "--base {start:#x} is not a multiple of 2 MiB");
        ensure!(
            size >= boot::SMALLEST_NODE && size.is_multiple_of(0x1000),
            "--size {size:#x} is not a number of whole pages of at least {:#x} bytes",
            boot::SMALLEST_NODE
        );
        match start.checked_add(size) {
            Some(end) if end <= page_tables::MAPPED => Ok(start..end),
            _ => anyhow::bail!("the node's memory must end below 4 GiB, where its page tables end"),
        }
    }
}

/// Parses an address: `0x38000000`, or decimal.
fn address(text: &str) -> Result<u64, std::num::ParseIntError> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    }
}
