//! The ACPI tables of a node. They contain only what a kernel needs to find its one processor and
//! to leave the rest of the machine alone.

use acpi_tables::{
    Aml,
    fadt::{FADTBuilder, Flags},
    madt::{EnabledStatus, LocalInterruptController, MADT, ProcessorLocalApic},
    rsdp::Rsdp,
    sdt::Sdt,
    xsdt::XSDT,
};
use anyhow::Result;

use crate::memory::NodeMemory;

const OEM: [u8; 6] = *b"NODES ";
const OEM_TABLE: [u8; 8] = *b"PARTITIO";
const LOCAL_APIC: u32 = 0xfee0_0000;

/// FADT boot architecture flags: "VGA not present" and "CMOS RTC not present"
/// (ACPI 6.5, 5.2.9.3); node 0 has them.
const NO_VGA_NO_RTC: u16 = (1 << 2) | (1 << 5);

/// Distance between tables. The longest one, the FADT, has 276 bytes.
const SPACING: u64 = 0x400;

/// Writes RSDP, XSDT, FADT, MADT and an empty DSDT, beginning with the RSDP at `at`.
pub(crate) fn write(memory: &NodeMemory, at: u64, node: u8) -> Result<()> {
    let [rsdp_at, xsdt_at, fadt_at, madt_at, dsdt_at] = [0, 1, 2, 3, 4].map(|n| at + n * SPACING);

    let mut xsdt = XSDT::new(OEM, OEM_TABLE, 1);
    xsdt.add_entry(fadt_at);
    xsdt.add_entry(madt_at);

    // No IO-APIC: interrupts of the machine's devices belong to node 0.
    let mut madt = MADT::new(OEM, OEM_TABLE, 1, LocalInterruptController::Address(LOCAL_APIC));
    madt.add_structure(ProcessorLocalApic::new(node, node, EnabledStatus::Enabled));

    let tables: [(u64, &dyn Aml); 5] = [
        (rsdp_at, &Rsdp::new(OEM, xsdt_at)),
        (xsdt_at, &xsdt),
        (fadt_at, &fadt(dsdt_at).finalize()),
        (madt_at, &madt),
        (dsdt_at, &Sdt::new(*b"DSDT", 36, 2, OEM, OEM_TABLE, 1)),
    ];
    for (table_at, table) in tables {
        let mut bytes = Vec::new();
        table.to_aml_bytes(&mut bytes);
        memory.write(table_at, &bytes)?;
    }
    Ok(())
}

fn fadt(dsdt: u64) -> FADTBuilder {
    let mut fadt = FADTBuilder::new(OEM, OEM_TABLE, 1)
        .dsdt_64(dsdt)
        // With this flag, Linux does not touch PIT, PIC, i8042 or RTC, and calibrates the local
        // APIC's timer by the time-stamp counter.
        .flag(Flags::HwReducedAcpi)
        // In logical mode every node would answer to the same APIC id and take interrupts of node
        // 0.
        .flag(Flags::ForceApicPhysicalDestinationMode)
        .flag(Flags::Wbinvd)
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton);
    fadt.iapc_boot_arch = NO_VGA_NO_RTC.into();
    fadt
}
