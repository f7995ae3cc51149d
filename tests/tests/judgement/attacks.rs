//! Attacks on kernel text, each on every kernel.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use watchdog_core::memory::{Memory, PhysAddr, RangeSet, ReadError};
use watchdog_core::verify::judge::Mechanism;
use watchdog_core::verify::{Sweep, Verdict};

use crate::specimen::{Specimen, jump};
use watchdog_tests::overlay::{Overlay, Patch};

/// A function that every kernel has and that attackers often change.
pub(crate) const VICTIM: &str = "commit_creds";
/// Another function.
const OTHER: &str = "prepare_kernel_cred";
const NOP5: [u8; 5] = [0x0f, 0x1f, 0x44, 0x00, 0x00];

/// Sweeps a changed kernel with a verifier that swept it before the change.
pub(crate) fn judged(specimen: &Specimen, patches: &[Patch]) -> Result<Sweep> {
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
