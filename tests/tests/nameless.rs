//! Kernels whose images have no symbols: what their bytes tell, and what a running kernel is judged
//! by them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use watchdog_core::image::KernelImage;
use watchdog_core::verify::reference::{ImageSymbols, Reference, Trampoline};
use watchdog_core::verify::{Baseline, NotJudged, Sweep, Verdict};
use watchdog_tests::{
    kernel::Kernel,
    lone::{Builder, Lone},
    nameless::without_symbols,
    system_map::SystemMap,
};

/// Kernels that `cargo xtask setup` always fetches.
const KERNELS: [&str; 3] = ["6.1", "6.12", "7.2"];
/// The kernel of one's own configuration that has no symbols.
const OWN: &str = "own-6.12-nosyms";

/// Check that every name that the bytes of an image decide is the kernel's own name for the place,
/// and that the tables are those of the whole image.
#[test]
#[ignore = "needs kernels: cargo xtask test"]
fn names_are_found_by_their_form() -> Result<()> {
    for name in KERNELS {
        let image = Kernel::named(name)?.image();
        let whole = Reference::of_image(&KernelImage::lay_out(
            &watchdog_core::image::open_unpacked(&image)?.1,
        )?)?;
        let found = Reference::of_image(&KernelImage::lay_out(&without_symbols(&image)?)?)?;
        ensure!(found.symbols.is_nameless() && !whole.symbols.is_nameless(), "{name}");
        let (named, functions) = compare(name, &found, &whole.symbols, |real| {
            real.iter().map(|(name, _, at)| (name.to_owned(), at)).collect()
        })?;
        println!("{name}: {named} names, {functions}");
        let (found, whole) = (found.tables, whole.tables);
        ensure!(found.jump_labels == whole.jump_labels, "{name}: jump labels");
        ensure!(found.static_calls == whole.static_calls, "{name}: static calls");
        ensure!(found.fentry == whole.fentry, "{name}: function entries");
        ensure!(found.unknown == whole.unknown, "{name}: {:?}", found.unknown);
        let places = |of: &[Trampoline]| of.iter().map(|it| it.at).collect::<Vec<_>>();
        ensure!(places(&found.trampolines) == places(&whole.trampolines), "{name}: trampolines");
        let known = |it: &&Trampoline| it.key != Trampoline::UNKNOWN_KEY;
        let mut known = found.trampolines.iter().filter(known);
        ensure!(known.all(|it| whole.trampolines.contains(it)), "{name}: keys");
        let (found, whole) = (found.known_symbols, whole.known_symbols);
        for (what, found, whole) in [
            ("fentry", found.fentry, whole.fentry),
            ("default_thunk", found.default_thunk, whole.default_thunk),
            ("return_thunk", found.return_thunk, whole.return_thunk),
            ("bug", found.bug, whole.bug),
        ] {
            ensure!(found == whole, "{name}: {what}: {found:?}, {whole:?}");
        }
    }
    Ok(())
}

/// What was found of functions.
struct Functions {
    /// Starts of functions that the kernel names.
    named: usize,
    /// Starts that the kernel does not name: weak functions that another replaced, and stubs.
    unnamed: usize,
    /// Functions that the kernel names, except for parts that the compiler split off.
    real: usize,
}

impl std::fmt::Display for Functions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { named, unnamed, real } = self;
        write!(f, "{named} of {real} functions, and {unnamed} starts without a name")
    }
}

/// Compares the names and the functions of an image without symbols with the real ones. Returns the
/// number of names.
fn compare(
    kernel: &str,
    found: &Reference,
    real: &ImageSymbols,
    names: impl Fn(&ImageSymbols) -> BTreeSet<(String, u32)>,
) -> Result<(usize, Functions)> {
    let names = names(real);
    let text = u32::try_from(found.text.bytes.len())?;
    let mut named = 0;
    let mut starts = BTreeSet::new();
    for (name, kind, at) in found.symbols.iter() {
        if kind.is_ascii_lowercase() || (kind == b'T' && at < text) {
            starts.insert(at);
        }
        // The first entries of a table may be empty, and keys and trampolines have names made of
        // their places.
        let made = ["__SCT__", "__SCK__", "__start_mcount_loc"];
        if name.is_empty() || kind == b'S' || made.iter().any(|made| name.starts_with(made)) {
            continue;
        }
        ensure!(names.contains(&(name.to_owned(), at)), "{kernel}: {name} is not at {at:#x}");
        named += 1;
    }
    let is_split = |name: &str| name.contains(".cold") || name.starts_with("__pfx_");
    let functions: BTreeMap<u32, &str> = real
        .iter()
        .filter(|(name, kind, at)| b"tTwW".contains(kind) && *at < text && !is_split(name))
        .map(|(name, _, at)| (at, name))
        .collect();
    let right = starts.iter().filter(|at| functions.contains_key(at)).count();
    let counted = Functions { named: right, unnamed: starts.len() - right, real: functions.len() };
    // Weak functions that lost, and the stubs of interrupts, have no symbols.
    ensure!(counted.unnamed * 40 < counted.named, "{kernel}: {counted}");
    ensure!(counted.named * 100 > counted.real * 90, "{kernel}: {counted}");
    Ok((named, counted))
}

/// Check that a running kernel is explained by its image without symbols, and that one flipped byte
/// of its text is tampering, at its place.
#[test]
#[ignore = "needs kernels: cargo xtask test"]
fn a_kernel_is_judged_without_symbols() -> Result<()> {
    let directory = tempfile::tempdir()?;
    for name in KERNELS {
        let image = directory.path().join(name);
        fs::write(&image, without_symbols(&Kernel::named(name)?.image())?)?;
        let lone = judged(name, Lone::of(name)?, &image)?;
        flipped(name, &lone, &image)?;
        traced(name, &lone, &image)?;
    }
    Ok(())
}

/// Traces every function. Without symbols, the calls to the tracer are not judged, and nothing is
/// wrong.
fn traced(name: &str, lone: &Lone, image: &Path) -> Result<()> {
    lone.node().tracing(true)?;
    let swept = lone.judge(image)?;
    explained(&format!("{name}, traced"), &swept)?;
    let ftrace = |it: &&NotJudged| it.mechanism == "ftrace";
    let sites: u32 = swept.not_judged.iter().filter(ftrace).map(|it| it.sites).sum();
    println!("{name}, traced | {}, {sites} function entries not judged", swept.verdict);
    ensure!(sites > 10_000, "{name}, traced: {:?}", swept.not_judged);
    Ok(())
}

/// Check the same for a kernel that has no symbols in its memory either, by its bzImage.
#[test]
#[ignore = "needs kernels: cargo xtask test --own-kernels"]
fn own_kernel_that_has_no_symbols() -> Result<()> {
    let image = Kernel::named(OWN)?.image();
    let unpacked = watchdog_core::image::open_unpacked(&image)?.1;
    let found = Reference::of_image(&KernelImage::lay_out(&unpacked)?)?;
    let (named, functions) = compare(OWN, &found, &SystemMap::of(OWN)?.symbols()?, |real| {
        real.iter().map(|(name, _, at)| (name.to_owned(), at)).collect()
    })?;
    println!("{OWN}: {named} names, {functions}");
    for (model, words) in [("max", ""), ("EPYC-Milan", ""), ("Skylake-Client", "retbleed=stuff")] {
        let lone = judged(OWN, Lone::of(OWN)?.cpu(model).append(words), &image)?;
        flipped(OWN, &lone, &image)?;
    }
    Ok(())
}

/// Ensures that nothing is unexplained, or shows the first places.
fn explained(name: &str, swept: &Sweep) -> Result<()> {
    const SHOWN: usize = 8;
    for it in swept.unexplained.iter().take(SHOWN) {
        let symbol = it.symbol.as_deref().unwrap_or_default();
        println!("  {symbol}: {} ({} -> {})", it.note, it.expected_asm, it.found_asm);
    }
    ensure!(swept.unexplained_total == 0, "{name}: {} unexplained", swept.unexplained_total);
    Ok(())
}

/// Boots a kernel and judges it by an image without symbols.
fn judged(name: &str, machine: Builder, image: &Path) -> Result<Lone> {
    let lone = machine.boot()?;
    let swept = lone.judge(image)?;
    println!("{name} | {}, {:?}", swept.verdict, swept.sites);
    swept.not_judged.iter().for_each(|it| println!("  not judged: {it}"));
    println!("  read-only data: {:?}", swept.rodata);
    explained(name, &swept)?;
    ensure!(swept.verdict == Verdict::Patched, "{name}: {}", swept.verdict);
    let is_said = |part: &str| {
        swept.not_judged.iter().any(|it| it.mechanism == part && it.why.contains("no symbols"))
    };
    for part in ["read-only data in `.rodata`", "ftrace", "kprobe", "bpf", "static-call"] {
        ensure!(is_said(part), "{name}: {part}: {:?}", swept.not_judged);
    }
    Ok(lone)
}

/// Changes one byte of code that no table names. It must be tampering at exactly this place, and
/// nothing once the byte is as before.
fn flipped(name: &str, lone: &Lone, image: &Path) -> Result<()> {
    let reference = Baseline::of_image(image)?.reference;
    let place = lone.text(image)? + u64::from(unlisted(&reference)?);
    let mut byte = [0];
    lone.ram().read(place, &mut byte)?;
    lone.ram().write(place, &[byte[0] ^ 1])?;
    let swept = lone.judge(image)?;
    ensure!(swept.verdict == Verdict::Tampered, "{name}: {}", swept.verdict);
    let [difference] = &swept.unexplained[..] else { bail!("{name}: {:#?}", swept.unexplained) };
    println!("  {}: {}", difference.symbol.as_deref().unwrap_or_default(), difference.note);
    ensure!((difference.phys.0, difference.found.len()) == (place, 1), "{name}: {difference:?}");
    let is_text = difference.symbol.as_deref().is_some_and(|it| it.starts_with("text+0x"));
    ensure!(is_text, "{name}: {difference:?}");
    lone.ram().write(place, &byte)?;
    let swept = lone.judge(image)?;
    ensure!(swept.verdict == Verdict::Patched, "{name}: {}", swept.verdict);
    Ok(())
}

/// A place in the middle of the text that is far from all places of tables.
fn unlisted(reference: &Reference) -> Result<u32> {
    const FAR: u32 = 64;
    let tables = &reference.tables;
    let calls = tables.static_calls.iter().map(|call| call.at);
    let listed: BTreeSet<u32> = tables
        .alternatives
        .iter()
        .map(|entry| entry.at)
        .chain(calls)
        .chain(tables.jump_labels.iter().map(|label| label.at))
        .chain(tables.trampolines.iter().map(|trampoline| trampoline.at))
        .chain(tables.paravirt.iter().map(|site| site.at))
        .chain(tables.runtime_constants.iter().flat_map(|it| it.sites.clone()))
        .chain(
            [&tables.smp_locks, &tables.retpolines, &tables.returns].into_iter().flatten().copied(),
        )
        .chain([&tables.calls, &tables.fentry, &tables.ibt_seals].into_iter().flatten().copied())
        .collect();
    let middle = u32::try_from(reference.text.bytes.len() / 2)?;
    let is_far = |at: &u32| listed.range(at - FAR..at + FAR).next().is_none();
    let code = |at: &u32| !matches!(reference.text.bytes[*at as usize], 0x90 | 0xcc);
    (middle..).take(1 << 20).find(|at| is_far(at) && code(at)).context("tables list every place")
}
