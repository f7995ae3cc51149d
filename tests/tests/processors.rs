//! Kernels on other models of processors, with mitigations forced by the command line. A kernel
//! rewrites its text by its processor, so each of them is another text. The verifier must explain
//! every byte.
//!
//! A run tries a few combinations that together reach the rules. `WATCHDOG_PROCESSORS=all` tries
//! all of them, and `WATCHDOG_PROCESSORS=TEXT` those whose name contains the text.

use std::env;

use anyhow::{Context, Result, bail, ensure};
use watchdog_core::verify::{Baseline, Verdict};
use watchdog_tests::lone::Lone;

/// The models that boot with their default command line. On an emulated `Opteron_G5`, 6.1 and 6.12
/// stop while they choose their mitigations.
const MODELS: [&str; 13] = [
    "EPYC",
    "EPYC-Rome",
    "EPYC-Milan",
    "EPYC-Genoa",
    "Dhyana",
    "Opteron_G3",
    "Haswell",
    "Skylake-Server",
    "Cascadelake-Server",
    "Icelake-Server",
    "SapphireRapids",
    "qemu64",
    "max",
];

/// Mitigations that AMD's models can be forced to. Without `-hypervisor`, a kernel does not ask for
/// the microcode against SRSO.
const AMD: [(&str, &str); 15] = [
    ("EPYC", "retbleed=unret"),
    ("EPYC", "retbleed=ibpb"),
    ("EPYC", "retbleed=off spec_rstack_overflow=off"),
    ("EPYC-Rome", "retbleed=unret,nosmt spectre_v2=retpoline,lfence"),
    ("EPYC-Rome", "spectre_v2=retpoline,generic pti=on"),
    ("EPYC-Milan,-hypervisor", "setcpuid=retbleed retbleed=unret"),
    ("EPYC-Milan,-hypervisor", "spec_rstack_overflow=safe-ret pti=on"),
    ("EPYC-Milan,-hypervisor", "spec_rstack_overflow=ibpb"),
    ("EPYC-Milan,-hypervisor", "spec_rstack_overflow=ibpb-vmexit"),
    ("EPYC-Milan,-hypervisor", "spec_rstack_overflow=microcode retbleed=off"),
    ("EPYC-Milan", "spec_rstack_overflow=ibpb"),
    ("EPYC-Milan", "mitigations=off"),
    ("EPYC-Genoa,-hypervisor", ""),
    ("Dhyana", "retbleed=unret spectre_v2=retpoline,generic"),
    ("max", "pti=on mds=full"),
];

/// Mitigations that Intel's models can be forced to.
const INTEL: [(&str, &str); 12] = [
    ("Haswell", "pti=on mds=full,nosmt"),
    ("Haswell", "pti=off mds=off srbds=off"),
    ("Haswell", "l1tf=full,force mmio_stale_data=full"),
    ("Skylake-Server", "spectre_v2=ibrs retbleed=auto"),
    ("Skylake-Server", "retbleed=off spectre_v2=retpoline,generic"),
    ("Skylake-Server", "spectre_v2=retpoline,lfence tsx_async_abort=full"),
    ("Skylake-Server", "mitigations=off"),
    ("Cascadelake-Server", "spectre_v2=eibrs gather_data_sampling=force"),
    ("Icelake-Server", "spectre_v2=eibrs,retpoline mmio_stale_data=full,nosmt"),
    ("SapphireRapids", "spectre_v2=eibrs,lfence reg_file_data_sampling=on"),
    ("qemu64,vendor=GenuineIntel", "pti=on"),
    ("max,vendor=GenuineIntel", "spectre_v2=eibrs mds=full"),
];

/// Parts of the lines in which a kernel says what it chose.
const CHOICES: [&str; 4] =
    ["RETBleed: ", "Return Stack Overflow: ", "return thunk: ", "Spectre V2 :"];

/// The combinations of an ordinary run.
const FEW: [(&str, &str); 4] = [
    // Returns through a thunk, static calls without a function, Safe-RET.
    ("EPYC-Milan", ""),
    ("EPYC", "retbleed=unret spectre_v2=retpoline,generic"),
    // The page tables' switch at entry, with cleared buffers.
    ("Haswell", "pti=on mds=full"),
    // Plain returns, and predictions cleared at entry.
    ("EPYC-Milan,-hypervisor", "spec_rstack_overflow=ibpb pti=on"),
];

/// Whether a kernel starts with this command line. 7.2.13 does not start with retpolines behind a
/// fence: `apply_retpolines()` warns about a jump in Rust code that has no room for the fence, and
/// the kernel stops.
fn starts(kernel: &str, words: &str) -> bool {
    kernel != "7.2" || !words.contains("lfence")
}

/// The combinations to try on a kernel.
fn chosen(kernel: &str) -> Vec<(&'static str, &'static str)> {
    let wanted = env::var("WATCHDOG_PROCESSORS").unwrap_or_default();
    if wanted.is_empty() {
        return FEW.to_vec();
    }
    let all = MODELS.map(|model| (model, "")).into_iter().chain(AMD).chain(INTEL);
    let is_wanted = |(model, words): &(&str, &str)| {
        wanted == "all" || format!("{model} {words}").contains(&wanted)
    };
    all.filter(|(_, words)| starts(kernel, words)).filter(is_wanted).collect()
}

/// Boots a kernel on a model, and judges it.
fn judge(kernel: &str, model: &str, words: &str) -> Result<()> {
    let lone = Lone::of(kernel)?.cpu(model).append(words).boot()?;
    let swept = lone.judge(lone.image())?;
    let sites: u32 = swept.sites.values().sum();
    println!("{kernel} {model} {words}: {}, {sites} sites, {:?}", swept.verdict, swept.sites);
    for line in lone.console()?.lines().filter(|line| CHOICES.iter().any(|it| line.contains(it))) {
        println!("  {line}");
    }
    for difference in swept.unexplained.iter().take(8) {
        println!(
            "  {} {}: {} ({:02x?} -> {:02x?})",
            difference.symbol.as_deref().unwrap_or("?"),
            difference.mechanism.map_or_else(String::new, |mechanism| mechanism.to_string()),
            difference.note,
            difference.expected,
            difference.found
        );
    }
    ensure!(swept.unexplained_total == 0, "{} unexplained", swept.unexplained_total);
    ensure!(swept.verdict == Verdict::Patched, "{}", swept.verdict);
    if (model, words) == FEW[0] {
        return_plainly(&lone)?;
    }
    Ok(())
}

/// Writes a plain return over a return of a kernel that returns through a thunk. The verifier must
/// find it: only a static call without a function may return plainly there.
fn return_plainly(lone: &Lone) -> Result<()> {
    const PLAIN: [u8; 5] = [0xc3, 0xcc, 0xcc, 0xcc, 0xcc];
    const JMP: u8 = 0xe9;
    let text = lone.node().truth()?.text_phys_start;
    let reference = Baseline::of_image(lone.image())?.reference;
    let victim = reference.symbols.address("commit_creds").context("no commit_creds")?;
    let mut live = [0; 5];
    for at in reference.tables.returns.iter().filter(|at| **at > victim) {
        let place = text + u64::from(*at);
        lone.ram().read(place, &mut live)?;
        if live[0] == JMP {
            lone.ram().write(place, &PLAIN)?;
            let swept = lone.judge(lone.image())?;
            ensure!(swept.unexplained_total == 1, "{} instead of 1", swept.unexplained_total);
            ensure!(swept.unexplained[0].phys.0 == place, "{:?}", swept.unexplained);
            return Ok(());
        }
    }
    bail!("the kernel has no return through a thunk")
}

/// Checks every combination on a kernel, and lists those that failed.
fn explained(kernel: &str) -> Result<()> {
    let mut failed = Vec::new();
    let combinations = chosen(kernel);
    for (model, words) in &combinations {
        let judged =
            judge(kernel, model, words).with_context(|| format!("{kernel} {model} {words}"));
        if let Err(error) = judged {
            println!("FAILED {error:#}");
            failed.push(format!("{error:#}"));
        }
    }
    println!("note: {kernel}: {} processors and command lines", combinations.len());
    if !failed.is_empty() {
        bail!("{} of {} failed:\n{}", failed.len(), combinations.len(), failed.join("\n"));
    }
    Ok(())
}

/// Check that 6.1 is explained on each processor.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn linux_6_1() -> Result<()> {
    explained("6.1")
}

/// Check that 6.12 is explained on each processor.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn linux_6_12() -> Result<()> {
    explained("6.12")
}

/// Check that 7.2 is explained on each processor.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn linux_7_2() -> Result<()> {
    explained("7.2")
}
