//! Lists of a kernel that describes none of its structures. Their layout is the one that fits them.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use watchdog_core::verify::judge::{Expected, ListLayouts, State};
use watchdog_core::verify::reference::Layouts;
use watchdog_core::verify::{Baseline, Sweep, Verdict, Verifier};
use watchdog_tests::livepatch;
use watchdog_tests::lone::Lone;
use watchdog_tests::toggles::{MODULES, Toggles};

/// What changes the kernel's text, one or more of each list; and parts of causes by it.
const FEW: [&str; 9] = [
    "module loop",
    "module kvm_amd",
    "livepatch",
    "function tracer of vfs",
    "kprobe at version_proc_show",
    "kprobe in meminfo_proc_show",
    "kretprobe of vfs_write",
    "fentry of vfs_read",
    "LSM file_open",
];
const BY_FEW: [&str; 3] = ["replacement [watchdog_livepatch]", "function_trace_call", "bpf_prog_"];
/// Tracers of all functions, which use the hash of `global_ops`.
const MORE: [&str; 2] = ["stack tracer", "function_graph tracer"];
const BY_MORE: [&str; 2] = ["ftrace_graph_func", "stack_trace_call"];

/// Where `struct ftrace_ops` may have its `func_hash`.
const FUNC_HASHES: std::ops::Range<u32> = 64..300;
const LOCAL_HASH: u64 = 40;

/// The causes with places in the text, by name, and the number of places.
fn causes(swept: &Sweep) -> Vec<(&str, u32)> {
    swept.causes.iter().map(|(cause, places)| (cause.name.as_str(), *places)).collect()
}

/// The reasons why places are not judged.
fn reasons(swept: &Sweep) -> Vec<&str> {
    swept.not_judged.iter().map(|it| it.why.as_str()).collect()
}

/// Check that a kernel with tracers, probes, programs, modules and a livepatch is judged without
/// type information as with it: by the same offsets, with the same causes. Check that lists that no
/// layout fits are said to be not judged.
fn lists_without_types(kernel: &str) -> Result<()> {
    let mut machine = Lone::of(kernel)?;
    for module in MODULES.into_iter().chain([livepatch::NAME]) {
        machine = machine.module(module);
    }
    let lone = machine.boot()?;
    let mut toggles = Toggles::new(lone.node(), 1)?;
    let described = Baseline::of_image(lone.image())?;
    let mut reference = (*described.reference).clone();
    let by_types = reference.layouts;
    reference.layouts = Layouts::default();
    ensure!(reference.undescribed().len() == 4, "{:?}", reference.undescribed());
    let undescribed = Baseline { reference: Arc::new(reference), ..described.clone() };
    for (on, names) in [(&FEW[..], &BY_FEW[..]), (&MORE[..], &BY_MORE[..])] {
        for name in on {
            toggles.flip_named(name)?;
        }
        is_judged_alike(&lone, [&described, &undescribed], by_types, names)?;
    }
    Ok(())
}

/// Check one moment of a kernel by a baseline with its layouts and one without them.
fn is_judged_alike(
    lone: &Lone,
    [described, undescribed]: [&Baseline; 2],
    by_types: Layouts,
    names: &[&str],
) -> Result<()> {
    lone.paused(described, |memory, located| {
        let sweep = |baseline: &Baseline| {
            Ok::<_, anyhow::Error>(
                Verifier::new(baseline.clone(), located).sweep(memory, located, 100)?,
            )
        };
        let with = sweep(described)?;
        if with.pending > 0 {
            return Ok(None);
        }
        let reference = Arc::unwrap_or_clone(undescribed.reference.clone());
        let symbol = |name: &str| {
            reference.symbols.address(name).with_context(|| format!("no symbol {name}"))
        };
        let (end, table) = (symbol("ftrace_list_end")?, symbol("kprobe_table")?);
        let distance = located.text.virt.0.wrapping_sub(reference.link_address);
        let expected = Expected::of(reference, distance);
        let fitting = ListLayouts::look(&expected, &State::of(memory, located)).layouts;
        println!("{fitting:?}");
        ensure!(fitting == Layouts { livepatch: None, ..by_types }, "{fitting:?} != {by_types:?}");

        let without = sweep(undescribed)?;
        println!("{} by {:?}", without.verdict, causes(&without));
        ensure!(without.verdict == Verdict::Instrumented, "{:#x?}", without.unexplained);
        ensure!(without.unexplained_total == 0, "{:#x?}", without.unexplained);
        ensure!(causes(&without) == causes(&with), "{:?} != {:?}", causes(&without), causes(&with));
        ensure!(reasons(&without) == reasons(&with), "{:?}", reasons(&without));
        for name in names {
            let is_named = causes(&without).iter().any(|(cause, _)| cause.contains(*name));
            ensure!(is_named, "{name} is not named: {:?}", causes(&without));
        }

        // No layout fits: the end of the list does not show it, or a probe's link leads elsewhere.
        let stext = located.text.phys.0;
        let read = |at: u64| -> Result<u64> {
            let mut word = [0; 8];
            lone.ram().read(at, &mut word)?;
            Ok(u64::from_le_bytes(word))
        };
        let own = located.text.virt.0 + u64::from(end) + LOCAL_HASH;
        let mut func_hashes = FUNC_HASHES.step_by(8).map(|at| stext + u64::from(end + at));
        let func_hash = func_hashes.find(|at| read(*at).is_ok_and(|word| word == own));
        let func_hash = func_hash.context("no func_hash")?;
        let buckets = (0..64).map(|n| stext + u64::from(table) + n * 8);
        let bucket = buckets.into_iter().find(|at| read(*at).is_ok_and(|first| first != 0));
        let bucket = bucket.context("no probe")?;
        for (at, word, structure) in
            [(func_hash, 0, "`struct ftrace_ops`"), (bucket, own, "`struct kprobe`")]
        {
            let was = read(at)?;
            lone.ram().write(at, &u64::to_le_bytes(word))?;
            let swept = sweep(undescribed);
            lone.ram().write(at, &was.to_le_bytes())?;
            let swept = swept?;
            println!("{} without {structure}: {:?}", swept.verdict, swept.not_judged);
            ensure!(swept.unexplained_total == 0, "{structure}: {:#x?}", swept.unexplained);
            ensure!(swept.verdict == Verdict::Instrumented, "{structure}: {}", swept.verdict);
            let is_named = |it: &&watchdog_core::verify::NotJudged| {
                it.sites > 0
                    && it.why.contains(structure)
                    && it.why.contains("no known layout fits")
            };
            ensure!(swept.not_judged.iter().find(is_named).is_some(), "{:?}", swept.not_judged);
        }
        Ok(Some(()))
    })
}

#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn lists_without_types_6_1() -> Result<()> {
    lists_without_types("6.1")
}

#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn lists_without_types_6_12() -> Result<()> {
    lists_without_types("6.12")
}

#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn lists_without_types_7_2() -> Result<()> {
    lists_without_types("7.2")
}
