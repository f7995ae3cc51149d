//! Kernels of one's own configuration (`cargo xtask kernels`), each alone on a machine. A kernel
//! that is not built is left out, and a note says so.

use std::fs;

use anyhow::{Result, ensure};
use watchdog_core::image::VendorImage;
use watchdog_core::verify::Verdict;
use watchdog_core::verify::judge::Mechanism;
use watchdog_tests::{cache, lone::Lone};
use xtask::own_kernels::OWN_KERNELS;

/// The names of the kernels that are built.
fn built() -> Vec<&'static str> {
    let is_built = |name: &&str| {
        let is_built = cache::kernels().join(name).join("release").exists();
        if !is_built {
            println!("note: {name} is not built: run `cargo xtask kernels {name}`");
        }
        is_built
    };
    OWN_KERNELS.iter().map(|kernel| kernel.name).filter(is_built).collect()
}

/// Check that each kernel is what its configuration says: its image names its release, it boots,
/// and it has symbols and type information only where they are configured.
#[test]
#[ignore = "needs kernels: cargo xtask test --own-kernels"]
fn kernels_are_as_configured() -> Result<()> {
    for name in built() {
        let directory = cache::kernels().join(name);
        let release = fs::read_to_string(directory.join("release"))?;
        let configuration = fs::read_to_string(directory.join("config"))?;
        let has = |option: &str| configuration.lines().any(|line| line == format!("{option}=y"));

        let image = VendorImage::open(&directory.join("vmlinuz"))?;
        ensure!(image.release() == release.trim(), "{name}: {image:?}");

        let lone = Lone::of(name)?.boot()?;
        let version = String::from_utf8(lone.node().read("/proc/version")?)?;
        ensure!(version.starts_with(&format!("Linux version {} (", release.trim())), "{version}");
        let exists = |path: &str| lone.node().read(path).is_ok();
        ensure!(exists("/proc/kallsyms") == has("CONFIG_KALLSYMS"), "{name}: kallsyms");
        let types = "/sys/kernel/btf/vmlinux";
        ensure!(exists(types) == has("CONFIG_DEBUG_INFO_BTF"), "{name}: type information");
        let tracing = "/sys/kernel/tracing/available_tracers";
        ensure!(exists(tracing) == has("CONFIG_FUNCTION_TRACER"), "{name}: tracers");
    }
    Ok(())
}

/// Check that both forms of control-flow integrity are explained on a fresh kernel.
#[test]
#[ignore = "needs kernels: cargo xtask test --own-kernels"]
fn control_flow_integrity() -> Result<()> {
    const NAME: &str = "own-6.12-cfi";
    if !built().contains(&NAME) {
        return Ok(());
    }
    for form in ["cfi=kcfi", "cfi=fineibt"] {
        let lone = Lone::of(NAME)?.append(form).boot()?;
        let swept = lone.judge(lone.image())?;
        println!("{form} | {}, {:?}", swept.verdict, swept.sites);
        ensure!(swept.unexplained_total == 0, "{form}: {:#x?}", swept.unexplained);
        ensure!(swept.verdict == Verdict::Patched, "{form}: {}", swept.verdict);
        let checks = swept.sites.get(&Mechanism::Cfi).copied().unwrap_or_default();
        ensure!(checks > 10_000, "{form}: {checks} checks");
    }
    Ok(())
}

/// Check that kernels with few witnesses and few symbols are located and judged.
#[test]
#[ignore = "needs kernels: cargo xtask test --own-kernels"]
fn few_symbols() -> Result<()> {
    for name in built().into_iter().filter(|name| !name.ends_with("-cfi")) {
        let lone = Lone::of(name)?.boot()?;
        // An image without symbols is judged by the vmlinux of the same build.
        let symbols = cache::kernels().join(name).join("vmlinux");
        let swept = lone.judge(if name.ends_with("-nosyms") { &symbols } else { lone.image() })?;
        println!(
            "{name} | {}, {:?}; not judged: {:?}",
            swept.verdict, swept.sites, swept.not_judged
        );
        ensure!(swept.unexplained_total == 0, "{name}: {:#x?}", swept.unexplained);
        ensure!(swept.verdict == Verdict::Patched, "{name}: {}", swept.verdict);
    }
    Ok(())
}
