//! This processor's local APIC, by which it stops and starts other processors.

use std::{sync::atomic::Ordering, thread, time::Duration, time::Instant};

use anyhow::{Context, Result, bail, ensure};
use vm_memory::{Bytes, MmapRegion, VolatileMemory};

use crate::memory;

/// Physical address of the local APIC after reset (Intel SDM 3A, 11.4.1).
const LOCAL_APIC: u64 = 0xfee0_0000;

const VERSION: usize = 0x30;
const COMMAND_LOW: usize = 0x300;
const COMMAND_HIGH: usize = 0x310;

const DELIVERY_PENDING: u32 = 1 << 12;
const ASSERT: u32 = 1 << 14;
const INIT: u32 = 5 << 8;
const STARTUP: u32 = 6 << 8;

/// Time that a processor needs between INIT and a startup interrupt (Intel SDM 3A, 9.4.4.1,
/// requires 10 ms).
const SETTLE: Duration = Duration::from_millis(20);

/// The registers of the local APIC.
pub(crate) struct LocalApic(MmapRegion);

impl LocalApic {
    /// Maps the registers.
    pub(crate) fn map() -> Result<Self> {
        let registers = memory::map_page(LOCAL_APIC)
            .context("the local APIC is out of reach: boot this kernel with `iomem=relaxed`")?;
        let apic = Self(registers);
        ensure!(
            apic.read(VERSION)? != u32::MAX,
            "the local APIC is in x2APIC mode: boot this kernel with `nox2apic`"
        );
        Ok(apic)
    }

    /// Halts the processor with this APIC id until it is started.
    pub(crate) fn halt(&self, apic_id: u8) -> Result<()> {
        self.command(apic_id, ASSERT | INIT)?;
        thread::sleep(SETTLE);
        Ok(())
    }

    /// Starts a halted processor in real mode, at the page at physical address `page`.
    pub(crate) fn start(&self, apic_id: u8, page: u64) -> Result<()> {
        let vector = u32::from(u8::try_from(page >> 12).context("not a page below 1 MiB")?);
        self.command(apic_id, ASSERT | STARTUP | vector)
    }

    fn command(&self, apic_id: u8, command: u32) -> Result<()> {
        self.write(COMMAND_HIGH, u32::from(apic_id) << 24)?;
        self.write(COMMAND_LOW, command)?;
        let sent = Instant::now();
        while self.read(COMMAND_LOW)? & DELIVERY_PENDING != 0 {
            if sent.elapsed() > Duration::from_secs(1) {
                bail!("the processor with APIC id {apic_id} does not take interrupts");
            }
        }
        Ok(())
    }

    fn read(&self, register: usize) -> Result<u32> {
        Ok(self.0.as_volatile_slice().load(register, Ordering::SeqCst)?)
    }

    fn write(&self, register: usize, value: u32) -> Result<()> {
        Ok(self.0.as_volatile_slice().store(value, register, Ordering::SeqCst)?)
    }
}
