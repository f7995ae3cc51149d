//! Attacks on the data that decides where a kernel goes, and on the data by which it is judged.

use std::fs;

use anyhow::{Context, Result, ensure};
use watchdog_core::verify::{Baseline, Verdict, Verifier};
use watchdog_tests::cache;
use watchdog_tests::overlay::Overlay;

use crate::WITHIN;
use crate::attacks::{VICTIM, judged};
use crate::specimen::Specimen;

/// Check that changes of system call tables, an interrupt gate and other read-only data are
/// detected, and that data that is never verified is counted.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn read_only_data_changed() -> Result<()> {
    for specimen in Specimen::all()? {
        let release = &specimen.kernel.release;
        let victim = specimen.kernel.text.virt.0 + u64::from(specimen.symbol(VICTIM)?);
        let healthy = judged(specimen, &[])?.rodata;
        ensure!(healthy.unjudged > 0 && healthy.unjudged < healthy.size / 200, "{healthy:?}");
        ensure!(healthy.gates > 200, "{healthy:?}");
        println!("{release}: {healthy:?}");
        let mut places = vec![("kill", specimen.symbol("sys_call_table")? + 62 * 8)];
        for table in ["x32_sys_call_table", "ia32_sys_call_table"] {
            // Kernels that do not run such programs have no such tables.
            places.extend(specimen.symbol(table).ok().map(|at| (table, at + 8)));
        }
        places.push((
            "file operations",
            specimen.symbol("ext4_file_operations").or_else(|_| specimen.symbol("def_blk_fops"))?
                + 16,
        ));
        for (what, at) in places {
            let patches = [(at, victim.to_le_bytes().to_vec())];
            let changed = Overlay::of(&specimen.memory, specimen.kernel.text.phys, &patches);
            let swept = specimen.verifier().sweep(&changed, &specimen.kernel, 10)?;
            ensure!(swept.verdict == Verdict::Tampered, "{release}: {what}");
            // Every sweep verifies the targets of system calls. Other data is verified in turn.
            let at_once = judged(specimen, &patches)?.verdict == Verdict::Tampered;
            ensure!(at_once || what == "file operations", "{release}: {what} not at once");
            let shown = swept.unexplained.first().context("nothing shown")?;
            println!("{release}: {}: {}", shown.symbol.as_deref().unwrap_or("?"), shown.note);
        }
        // The page fault's gate. It has its handler in three parts.
        let gate = specimen.symbol("idt_table")? + 14 * 16;
        let [a, b, c, d, e, f, g, h] = victim.to_le_bytes();
        let patches = [(gate, vec![a, b]), (gate + 6, vec![c, d]), (gate + 8, vec![e, f, g, h])];
        let swept = judged(specimen, &patches)?;
        ensure!(swept.verdict == Verdict::Tampered && swept.unexplained_total == 1);
        ensure!(swept.unexplained[0].note.contains("interrupt gate"), "{:?}", swept.unexplained);
    }
    Ok(())
}

/// Check two forgeries at the same entry of a table that the kernel sorts at boot. A verifier that
/// saw the first one reports the second one too, with its bytes and its place.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn entry_of_a_sorted_table_forged() -> Result<()> {
    for specimen in Specimen::all()? {
        let release = &specimen.kernel.release;
        for (table, bytes) in [("__start___jump_table", 16), ("__start_static_call_sites", 8)] {
            // Not the first entry, since its place says where the table begins.
            let at = specimen.symbol(table)? + 5 * bytes;
            let healthy = specimen.live(at, bytes as usize);
            let phys = specimen.kernel.text.phys.0 + u64::from(at);
            let mut verifier = specimen.experienced();
            for change in [0x10_u8, 0x20] {
                let mut forged = healthy.clone();
                forged[0] ^= change;
                let patches = [(at, forged.clone())];
                let changed = Overlay::of(&specimen.memory, specimen.kernel.text.phys, &patches);
                // The page is verified in turn.
                let shown = (0..WITHIN).find_map(|_| {
                    let swept = verifier.sweep(&changed, &specimen.kernel, 10).ok()?;
                    swept.unexplained.into_iter().find(|it| it.phys.0 == phys && it.found == forged)
                });
                let shown = shown.with_context(|| format!("{release}: {table}, {change:#x}"))?;
                ensure!(shown.expected.len() == forged.len(), "{release}: {shown:?}");
                ensure!(shown.note.contains("not linked with"), "{release}: {shown:?}");
            }
        }
    }
    Ok(())
}

/// Check endless type information in the memory of a kernel without an image. The verifier refuses
/// the type information, and still verifies the text.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn hostile_type_information() -> Result<()> {
    let seeds = cache::project_root().join("watchdog/fuzz/seeds/types");
    for specimen in Specimen::all()? {
        let release = &specimen.kernel.release;
        let at = specimen.symbol("__start_BTF")?;
        for name in ["anonymous-in-anonymous", "names-without-end", "types-of-themselves"] {
            let patches = [(at, fs::read(seeds.join(name))?)];
            let changed = Overlay::of(&specimen.memory, specimen.kernel.text.phys, &patches);
            let learned = Baseline::learn(&changed, &specimen.kernel)?;
            let module = learned.reference.layouts.module;
            ensure!(module.is_none(), "{release}: {name} was believed");
            let mut verifier = Verifier::new(learned, &specimen.kernel);
            let swept = verifier.sweep(&changed, &specimen.kernel, 10)?;
            ensure!(swept.verdict == Verdict::Clean, "{release}: {name}: {}", swept.verdict);
        }
    }
    Ok(())
}
