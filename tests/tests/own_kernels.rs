//! Kernels of one's own configuration (`cargo xtask kernels`), each alone on a machine, and two of
//! them as nodes.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use watchdog_core::image::VendorImage;
use watchdog_core::memory::PhysAddr;
use watchdog_core::verify::judge::Mechanism;
use watchdog_core::verify::{Sweep, Verdict};
use watchdog_tests::cases::{json_lines, on_host};
use watchdog_tests::lone::Lone;
use watchdog_tests::machine::{Machine, Ram, ServiceNode};
use watchdog_tests::system_map::SystemMap;
use watchdog_tests::{cache, layout, truth};
use xtask::kernels::STABLE;
use xtask::own_kernels::OWN_KERNELS;

/// A function whose code is not executed while a node idles, and a byte of it.
const FUNCTION: &str = "commit_creds";
const BYTE: u64 = 24;
/// A kernel that is configured for tracing has more functions than this.
const MANY: u32 = 1000;

/// Reads the file beside a kernel.
fn beside(kernel: &str, file: &str) -> Result<String> {
    let path = cache::kernels().join(kernel).join(file);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// Returns whether a kernel has an option.
fn has(kernel: &str, option: &str) -> Result<bool> {
    Ok(beside(kernel, "config")?.lines().any(|line| line == format!("{option}=y")))
}

/// Check that each kernel is what its configuration says: its image names its release, it boots,
/// and it has symbols and type information only where they are configured.
#[test]
#[ignore = "needs kernels: cargo xtask test --own-kernels"]
fn kernels_are_as_configured() -> Result<()> {
    for name in OWN_KERNELS.map(|kernel| kernel.name) {
        let lone = Lone::of(name)?.boot()?;
        let release = beside(name, "release")?;
        let image = VendorImage::open(lone.image())?;
        ensure!(image.release() == release.trim(), "{name}: {image:?}");
        let version = String::from_utf8(lone.node().read("/proc/version")?)?;
        ensure!(version.starts_with(&format!("Linux version {} (", release.trim())), "{version}");
        for (option, path) in [
            ("CONFIG_KALLSYMS", "/proc/kallsyms"),
            ("CONFIG_DEBUG_INFO_BTF", "/sys/kernel/btf/vmlinux"),
            ("CONFIG_FUNCTION_TRACER", "/sys/kernel/tracing/available_tracers"),
        ] {
            let exists = lone.node().read(path).is_ok();
            ensure!(exists == has(name, option)?, "{name}: {option} and {path}");
        }
    }
    Ok(())
}

/// Check that each kernel is judged with what it has: fresh, traced, and with a changed byte. Both
/// forms of control-flow integrity must be explained.
#[test]
#[ignore = "needs kernels: cargo xtask test --own-kernels"]
fn fresh_traced_and_changed() -> Result<()> {
    for name in OWN_KERNELS.map(|kernel| kernel.name) {
        let forms: &[&str] =
            if has(name, "CONFIG_CFI_CLANG")? { &["cfi=kcfi", "cfi=fineibt"] } else { &[""] };
        for form in forms {
            judged(name, form).with_context(|| format!("{name} {form}"))?;
        }
    }
    Ok(())
}

/// Boots a kernel with these words on its command line, and judges it in each state.
fn judged(name: &str, form: &str) -> Result<()> {
    let lone = Lone::of(name)?.append(form).boot()?;
    let judge = |state: &str| -> Result<Sweep> {
        let swept = lone.judge(lone.image())?;
        println!(
            "{name} {form} {state} | {}, {:?}; causes {:?}; not judged: {:?}",
            swept.verdict, swept.sites, swept.causes, swept.not_judged
        );
        Ok(swept)
    };
    let fresh = judge("fresh")?;
    ensure!(fresh.unexplained_total == 0, "{:#x?}", fresh.unexplained);
    ensure!(fresh.verdict == Verdict::Patched, "{}", fresh.verdict);
    if has(name, "CONFIG_CFI_CLANG")? {
        let checks = fresh.sites.get(&Mechanism::Cfi).copied().unwrap_or_default();
        ensure!(checks > 10_000, "{checks} checks");
    }
    if has(name, "CONFIG_FUNCTION_TRACER")? {
        let tracer = |tracer| lone.node().write("/sys/kernel/tracing/current_tracer", tracer);
        tracer("function")?;
        traced(name, &judge("traced")?)?;
        tracer("nop")?;
        let after = judge("no longer traced")?;
        ensure!(after.verdict == Verdict::Patched, "{}: {:#x?}", after.verdict, after.unexplained);
    }
    let at = place(name, lone.node())?;
    let before = flip(lone.ram(), at)?;
    let changed = judge("changed")?;
    lone.ram().write(at, &[before])?;
    let [place] = &changed.unexplained[..] else { bail!("{:#x?}", changed.unexplained) };
    ensure!(changed.unexplained_total == 1 && place.phys == PhysAddr(at), "{place:#x?}");
    ensure!(place.expected == [before] && place.found == [before ^ 1], "{place:#x?}");
    ensure!(changed.verdict == Verdict::Tampered, "{}", changed.verdict);
    Ok(())
}

/// Checks that a tracer is named. If the image does not name the list of tracers, all their sites
/// must be left unjudged by name.
fn traced(kernel: &str, swept: &Sweep) -> Result<()> {
    ensure!(swept.unexplained_total == 0, "{:#x?}", swept.unexplained);
    let named = swept.causes.iter().filter(|(cause, _)| cause.mechanism == Mechanism::Ftrace);
    let named: u32 = named.map(|(_, sites)| sites).sum();
    let ftrace = Mechanism::Ftrace.name();
    let unjudged = swept.not_judged.iter().filter(|it| it.mechanism == ftrace);
    let unjudged: u32 = unjudged.map(|it| it.sites).sum();
    let (expected, counted, other) = if has(kernel, "CONFIG_KALLSYMS_ALL")? {
        (Verdict::Instrumented, named, unjudged)
    } else {
        (Verdict::Patched, unjudged, named)
    };
    ensure!(counted > MANY && other == 0, "{named} and {unjudged}: {:?}", swept.causes);
    ensure!(swept.verdict == expected, "{}", swept.verdict);
    Ok(())
}

/// Returns the physical place of [`BYTE`] of [`FUNCTION`]. It follows from what the node's own
/// `/proc/iomem` says, and from the list of symbols beside the kernel.
fn place(kernel: &str, node: &ServiceNode) -> Result<u64> {
    let map = SystemMap::of(kernel)?;
    let iomem = String::from_utf8(node.read("/proc/iomem")?)?;
    let (start, _) = truth::kernel_code(&iomem)?;
    Ok(start + (map.address(FUNCTION)? - map.address("_text")?) + BYTE)
}

/// Flips a bit, as a device could. Returns the byte that was there.
fn flip(ram: &Ram, at: u64) -> Result<u8> {
    let mut byte = [0];
    ram.read(at, &mut byte)?;
    ram.write(at, &[byte[0] ^ 1])?;
    Ok(byte[0])
}

/// The nodes, each with its kernel. The third kernel stays where it is linked, so that it cannot be
/// a node.
const NODES: [(u8, &str); 2] = [(1, "own-6.12-noall"), (2, "own-6.12-cfi")];

/// Check that these kernels run as nodes of Debian's kernel, and that `scan` judges each by its
/// image: fresh, traced, and with a byte changed in one of them.
#[test]
#[ignore = "needs kernels: cargo xtask test --own-kernels"]
fn as_nodes() -> Result<()> {
    let builder = Machine::builder().kernel(STABLE);
    let builder = NODES.iter().fold(builder, |it, (node, name)| it.service_kernel(*node, name));
    let machine = builder.boot()?;
    for report in scan(&machine)? {
        ensure!(report["verdict"] == "patched", "{report}");
    }
    for (number, name) in NODES {
        let node = machine.node(number)?;
        node.write("/sys/kernel/tracing/current_tracer", "function")?;
        let reports = scan(&machine)?;
        for ((other, _), report) in NODES.iter().zip(&reports) {
            if *other == number {
                traced_by(name, report)?;
            } else {
                ensure!(report["verdict"] == "patched", "{report}");
            }
        }
        node.write("/sys/kernel/tracing/current_tracer", "nop")?;

        let at = place(name, node)?;
        let before = flip(machine.ram(), at)?;
        let reports = scan(&machine)?;
        machine.ram().write(at, &[before])?;
        for ((other, _), report) in NODES.iter().zip(&reports) {
            let expected = if *other == number { "tampered" } else { "patched" };
            ensure!(report["verdict"] == expected, "{report}");
        }
        let changed = &reports[usize::from(number) - 1];
        ensure!(changed["differences_total"] == 1, "{changed}");
        ensure!(changed["differences"][0]["phys"] == format!("{at:#x}"), "{changed}");
    }
    Ok(())
}

/// Scans the nodes from outside by their images, in the order of [`NODES`].
fn scan(machine: &Machine) -> Result<Vec<Value>> {
    let memory = format!("raw:{}", machine.ram().path().display());
    let mut arguments = ["scan", "--json", "--memory", &memory].map(str::to_owned).to_vec();
    for (node, name) in NODES {
        let (range, image) = (layout::main_range(node), cache::kernels().join(name));
        let image = image.join("vmlinuz");
        arguments
            .extend(["--node".to_owned(), format!("{name}={:#x}..{:#x}", range.start, range.end)]);
        arguments.extend(["--image".to_owned(), format!("{name}={}", image.display())]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = on_host(&arguments)?;
    let reports = json_lines(&output.text())?;
    ensure!(reports.len() == NODES.len(), "{output}");
    for ((_, name), report) in NODES.iter().zip(&reports) {
        println!("{name}: {}, {} differences", report["verdict"], report["differences_total"]);
        ensure!(report["node"] == *name, "{output}");
    }
    Ok(reports)
}

/// Checks that the report of a traced node names the tracer, or the sites that it leaves unjudged.
fn traced_by(kernel: &str, report: &Value) -> Result<()> {
    let of_ftrace = |list: &str, number: &str| -> u64 {
        let entries = report[list].as_array().into_iter().flatten();
        let entries = entries.filter(|it| it["mechanism"] == Mechanism::Ftrace.name());
        entries.filter_map(|it| it[number].as_u64()).sum()
    };
    let (named, unjudged) = (of_ftrace("causes", "places"), of_ftrace("not_judged", "sites"));
    let (expected, counted, other) = if has(kernel, "CONFIG_KALLSYMS_ALL")? {
        ("instrumented", named, unjudged)
    } else {
        ("patched", unjudged, named)
    };
    ensure!(report["verdict"] == expected, "{report}");
    ensure!(counted > MANY.into() && other == 0, "{named} named, {unjudged} not judged: {report}");
    Ok(())
}
