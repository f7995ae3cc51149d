//! Attacks on kernel text, each on every kernel.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use watchdog_core::memory::{Memory, PhysAddr, RangeSet, ReadError};
use watchdog_core::verify::judge::Mechanism;
use watchdog_core::verify::{Baseline, Sweep, Verdict, Verifier};
use watchdog_tests::cache;

use crate::WITHIN;
use crate::specimen::{Specimen, jump};
use watchdog_tests::overlay::{Overlay, Patch};

/// A function that every kernel has and that attackers often change.
const VICTIM: &str = "commit_creds";
/// Another function.
const OTHER: &str = "prepare_kernel_cred";
const NOP5: [u8; 5] = [0x0f, 0x1f, 0x44, 0x00, 0x00];

/// Sweeps a changed kernel with a verifier that swept it before the change.
fn judged(specimen: &Specimen, patches: &[Patch]) -> Result<Sweep> {
    let changed = Overlay::of(&specimen.memory, specimen.kernel.text.phys, patches);
    Ok(specimen.experienced().sweep(&changed, &specimen.kernel, 100)?)
}

/// Memory in which the n-th read fails, once.
struct Interrupted<'a> {
    below: Overlay<'a>,
    left: AtomicUsize,
}

impl Memory for Interrupted<'_> {
    fn ranges(&self) -> &RangeSet {
        self.below.ranges()
    }

    fn read(&self, at: PhysAddr, buffer: &mut [u8]) -> Result<(), ReadError> {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            let (length, source_name) = (buffer.len() as u64, "interrupted".to_owned());
            return Err(ReadError::Outside { at, length, source_name });
        }
        self.below.read(at, buffer)
    }

    fn is_at_rest(&self) -> bool {
        true
    }
}

/// Check that a sweep detects a change even if the sweep before read it and then failed.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn change_in_a_sweep_that_is_cut_off() -> Result<()> {
    for specimen in Specimen::all()? {
        let entry = specimen.symbol(VICTIM)?;
        let patch = (entry + 16, vec![specimen.live(entry + 16, 1)[0] ^ 1]);
        let below = Overlay::of(&specimen.memory, specimen.kernel.text.phys, &[patch]);
        let pages = specimen.kernel.text.size.div_ceil(4096);
        let memory = Interrupted { below, left: AtomicUsize::new(usize::try_from(pages)?) };
        let mut verifier = specimen.experienced();
        ensure!(verifier.sweep(&memory, &specimen.kernel, 1).is_err(), "it was not cut off");
        let swept = verifier.sweep(&memory, &specimen.kernel, 1)?;
        ensure!(swept.verdict == Verdict::Tampered, "{}", swept.verdict);
    }
    Ok(())
}

/// Checks on every kernel that the verifier detects changes where they were made, and that a
/// verifier that sees the kernel for the first time detects as many.
fn attack(make: fn(&Specimen) -> Result<Vec<Patch>>) -> Result<()> {
    for specimen in Specimen::all()? {
        let release = &specimen.kernel.release;
        let patches = make(specimen).with_context(|| release.clone())?;
        ensure!(!patches.is_empty(), "{release}: nothing to attack");
        for (at, bytes) in &patches {
            ensure!(specimen.live(*at, bytes.len()) != *bytes, "{release}: nothing changes");
        }
        let swept = judged(specimen, &patches)?;
        ensure!(swept.verdict == Verdict::Tampered, "{release}: {}", swept.verdict);
        for (at, bytes) in &patches {
            let start = specimen.kernel.text.phys.0 + u64::from(*at);
            let end = start + bytes.len() as u64;
            let hit = swept.unexplained.iter().any(|difference| {
                let first = difference.phys.0;
                first < end && start < first + difference.found.len() as u64
            });
            ensure!(hit, "{release}: {at:#x} is not among {:x?}", swept.unexplained);
        }
        let changed = Overlay::of(&specimen.memory, specimen.kernel.text.phys, &patches);
        let fresh = specimen.verifier().sweep(&changed, &specimen.kernel, 100)?;
        ensure!(
            fresh.unexplained_total == swept.unexplained_total,
            "{release}: not at first sight"
        );
        let shown = &swept.unexplained[0];
        let symbol = shown.symbol.as_deref().unwrap_or_default();
        println!(
            "{release}: {symbol}: {} ({} -> {})",
            shown.note, shown.expected_asm, shown.found_asm
        );
    }
    Ok(())
}

macro_rules! attacks {
    ($($(#[$doc:meta])* $name:ident = $make:expr;)*) => {$(
        $(#[$doc])*
        #[test]
        #[ignore = "boots a machine: cargo xtask test"]
        fn $name() -> Result<()> {
            attack($make)
        }
    )*};
}

/// Returns the place of a function's `call __fentry__`.
fn fentry(specimen: &Specimen, name: &str) -> Result<u32> {
    let at = specimen.symbol(name)?;
    let sites = &specimen.reference().tables.fentry;
    let site = sites.iter().find(|site| (at..at + 8).contains(site));
    site.copied().with_context(|| format!("{name} has no place for a tracer"))
}

attacks! {
    /// Check that a jump out of the kernel at a function's entry is detected.
    inline_hook_at_entry = |specimen| {
        let at = fentry(specimen, VICTIM)?;
        Ok(vec![(at, jump(0xe9, at, 0x3000_0000))])
    };
    /// Check that such a jump is detected after the place that tracers use.
    inline_hook_behind_entry = |specimen| {
        let at = fentry(specimen, VICTIM)? + 5;
        Ok(vec![(at, jump(0xe9, at, 0x3000_0000))])
    };
    /// Check that a static key's jump to a wrong target is detected.
    jump_label_to_another_target = |specimen| {
        let (_, sites) = specimen.switchable_key()?;
        let label = sites.iter().find(|label| specimen.live(label.at, 5) == NOP5);
        let at = label.context("no site of five bytes")?.at;
        Ok(vec![(at, jump(0xe9, at, specimen.symbol(VICTIM)?))])
    };
    /// Check that a static key's jump to its target is detected while the key is off.
    jump_label_against_its_key = |specimen| {
        let (_, sites) = specimen.switchable_key()?;
        Ok(vec![specimen.toggled(&sites[0])])
    };
    /// Check that a static call into the middle of a function is detected.
    static_call_to_the_middle = |specimen| {
        let (at, function) = static_call(specimen)?;
        Ok(vec![(at, jump(0xe8, at, function + 8))])
    };
    /// Check that a static call of a function that its key does not name is detected.
    static_call_to_another_function = |specimen| {
        let (at, _) = static_call(specimen)?;
        Ok(vec![(at, jump(0xe8, at, specimen.symbol(VICTIM)?))])
    };
    /// Check that a redirected static call trampoline is detected.
    static_call_trampoline_redirected = |specimen| {
        let tramp = specimen.reference().tables.trampolines.iter().find(|tramp| {
            specimen.live(tramp.at, 1) == [0xe9]
        });
        let at = tramp.context("no trampoline")?.at;
        Ok(vec![(at, jump(0xe9, at, specimen.symbol(VICTIM)?))])
    };
    /// Check that a call of a function that is not a tracer is detected at a place for tracers.
    ftrace_site_calls_no_tracer = |specimen| {
        let at = fentry(specimen, VICTIM)?;
        Ok(vec![(at, jump(0xe8, at, specimen.symbol(OTHER)?))])
    };
    /// Check that a call of the tracers' own entry is detected if no tracer is registered there.
    ftrace_site_calls_an_idle_entry = |specimen| {
        let at = fentry(specimen, VICTIM)?;
        Ok(vec![(at, jump(0xe8, at, specimen.symbol("ftrace_caller")?))])
    };
    /// Check that the alternative of another site is detected.
    alternative_of_another_site = |specimen| {
        let tables = &specimen.reference().tables;
        let text = u32::try_from(specimen.kernel.text.size)?;
        // `stac` and `clac` are the opposite of each other, and have three bytes each.
        let other = [0x0f, 0x01, 0xcb];
        let clac = tables.alternatives.iter().find(|entry| {
            entry.at < text && entry.length == 3
                && replacement(specimen, entry.replacement, 3) == [0x0f, 0x01, 0xca]
        });
        Ok(vec![(clac.context("no clac")?.at, other.to_vec())])
    };
    /// Check that a single site that does not use a feature of the processor is detected.
    alternative_taken_back = |specimen| {
        let tables = &specimen.reference().tables;
        let text = u32::try_from(specimen.kernel.text.size)?;
        let clac = tables.alternatives.iter().filter(|entry| {
            entry.at < text && entry.length == 3
                && replacement(specimen, entry.replacement, 3) == [0x0f, 0x01, 0xca]
        });
        let at = clac.map(|entry| entry.at).nth(7).context("no clac")?;
        let live = specimen.live(at, 3);
        let (clac, nop) = ([0x0f, 0x01, 0xca], [0x0f, 0x1f, 0x00]);
        let other = if live == clac { nop } else { clac };
        Ok(vec![(at, other.to_vec())])
    };
    /// Check that a return that was replaced with a jump to a function is detected.
    return_redirected = |specimen| {
        let sites = &specimen.reference().tables.returns;
        let at = *sites.iter().find(|at| specimen.live(**at, 1) == [0xc3]).context("no return")?;
        Ok(vec![(at, jump(0xe9, at, specimen.symbol(VICTIM)?))])
    };
    /// Check that a conditional jump that was replaced with NOPs is detected.
    permission_check_skipped = |specimen| {
        let start = specimen.symbol("inode_permission")?;
        let code = specimen.live(start, 256);
        let offset = code.windows(2).position(|pair| pair == [0x85, 0xc0]).context("no test")?;
        let at = start + u32::try_from(offset)? + 2;
        Ok(vec![(at, vec![0x90, 0x90])])
    };
    /// Check that breakpoints without a probe are detected, at an instruction and at a tracer's
    /// place.
    stale_breakpoints = |specimen| {
        let at = fentry(specimen, VICTIM)?;
        Ok(vec![(at, vec![0xcc]), (at + 5, vec![0xcc])])
    };
    /// Check that an indirect branch through another register is detected.
    indirect_branch_through_another_register = |specimen| {
        let symbols = &specimen.reference().symbols;
        let thunk = specimen.symbol("__x86_indirect_thunk_rax")?;
        let sites = &specimen.reference().tables.retpolines;
        let at = sites.iter().find(|at| {
            specimen.live(**at, 5) == jump(0xe8, **at, thunk) && symbols.at(**at).is_none()
        });
        let at = *at.context("no call through rax")?;
        Ok(vec![(at, jump(0xe8, at, specimen.symbol("__x86_indirect_thunk_rcx")?))])
    };
}

/// Finds a static call in the text that calls a function at present. Returns both.
fn static_call(specimen: &Specimen) -> Result<(u32, u32)> {
    let calls = &specimen.reference().tables.static_calls;
    let text = u32::try_from(specimen.kernel.text.size)?;
    let call = calls.iter().filter(|call| call.at < text && !call.tail).find_map(|call| {
        let function = specimen.pointer(call.key)?;
        (specimen.live(call.at, 5) == jump(0xe8, call.at, function)).then_some((call.at, function))
    });
    call.context("no static call")
}

/// Returns the bytes of a replacement, as linked.
fn replacement(specimen: &Specimen, at: u32, length: usize) -> &[u8] {
    let piece = &specimen.reference().replacements;
    let start = (at - piece.offset) as usize;
    &piece.bytes[start..start + length]
}

/// Check that a changed runtime constant is detected: the kernel wrote it at boot, and it no longer
/// equals its variable (kernels since 6.12).
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn runtime_constant_changed() -> Result<()> {
    for specimen in Specimen::all()? {
        for constant in &specimen.reference().tables.runtime_constants {
            let at = constant.sites[0];
            let length = constant.kind.bytes();
            let mut bytes = specimen.live(at, length);
            bytes[0] ^= 0x10;
            let swept = judged(specimen, &[(at, bytes)])?;
            ensure!(swept.verdict == Verdict::Tampered && swept.unexplained_total == 1);
            ensure!(swept.unexplained[0].mechanism == Some(Mechanism::RuntimeConstant));
            println!("{}: {}", specimen.kernel.release, constant.name);
        }
    }
    Ok(())
}

/// Check that a missing lock prefix is detected on a kernel with several processors. To make one,
/// the test restores the prefix at all places, as Linux does for a second processor.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn lock_taken_away() -> Result<()> {
    for specimen in Specimen::all()? {
        let sites = &specimen.reference().tables.smp_locks;
        let text = u32::try_from(specimen.kernel.text.size)?;
        let linked = &specimen.reference().text.bytes;
        let locks: Vec<u32> =
            sites.iter().copied().filter(|at| *at < text && linked[*at as usize] == 0xf0).collect();
        let mut patches: Vec<Patch> = locks.iter().map(|at| (*at, vec![0xf0])).collect();
        let swept = judged(specimen, &patches)?;
        ensure!(swept.verdict == Verdict::Patched, "{:x?}", swept.unexplained.first());
        let alone = locks[locks.len() / 2];
        patches.retain(|(at, _)| *at != alone);
        patches.push((alone, vec![0x3e]));
        let swept = judged(specimen, &patches)?;
        ensure!(swept.verdict == Verdict::Tampered && swept.unexplained_total == 1);
        let place = specimen.kernel.text.phys.0 + u64::from(alone);
        ensure!(swept.unexplained[0].phys.0 == place, "{:x?}", swept.unexplained);
    }
    Ok(())
}

/// Check that a later sweep still reports a change, and no longer reports it once it is undone.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn findings_stand_until_undone() -> Result<()> {
    for specimen in Specimen::all()? {
        let mut verifier = specimen.experienced();
        let at = fentry(specimen, VICTIM)? + 5;
        let patches = [(at, vec![0xcc])];
        let changed = Overlay::of(&specimen.memory, specimen.kernel.text.phys, &patches);
        let memories: [&dyn Memory; 4] = [&changed, &changed, &specimen.memory, &specimen.memory];
        let verdicts: Vec<_> = memories
            .iter()
            .map(|memory| Ok(verifier.sweep(*memory, &specimen.kernel, 1)?.verdict))
            .collect::<Result<_>>()?;
        let expected = [Verdict::Tampered, Verdict::Tampered, Verdict::Patched, Verdict::Patched];
        ensure!(verdicts == expected, "{verdicts:?}");
    }
    Ok(())
}

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
