//! Kernels that make their branches safe for weak Intel processors. Each of them rewrites tens of
//! thousands of branches. The verifier must explain every byte, with and without a tracer.

use anyhow::{Result, ensure};
use watchdog_core::verify::Verdict;
use watchdog_core::verify::judge::Mechanism;
use watchdog_tests::lone::{Builder, Lone};

/// Thunks in the upper half of a cache line.
const ALIGNED: &str = "setcpuid=ibrs_enhanced indirect_target_selection=force";
/// Calls that are counted.
const COUNTED: &str = "retbleed=stuff indirect_target_selection=stuff";

/// Boots a kernel, judges it, and judges it again while all its functions are traced. At least
/// `sites` of its sites must belong to the mechanism.
fn explained(builder: Builder, mechanism: Mechanism, sites: u32) -> Result<()> {
    let lone = builder.boot()?;
    let swept = lone.judge(lone.image())?;
    println!("{}, {:?}", swept.verdict, swept.sites);
    ensure!(swept.unexplained_total == 0, "{:?}", swept.unexplained);
    ensure!(swept.verdict == Verdict::Patched, "{}", swept.verdict);
    let found = swept.sites.get(&mechanism).copied().unwrap_or_default();
    ensure!(found > sites, "{found} sites: {}", lone.console()?);
    lone.node().tracing(true)?;
    let swept = lone.judge(lone.image())?;
    ensure!(swept.unexplained_total == 0, "{:?}", swept.unexplained);
    ensure!(swept.verdict == Verdict::Instrumented, "{}", swept.verdict);
    Ok(())
}

/// Check that the thunks of 7.2 are explained.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn aligned_branches() -> Result<()> {
    let lone = Lone::of("7.2")?.cpu("max,vendor=GenuineIntel").append(ALIGNED);
    explained(lone, Mechanism::Retpoline, 10_000)
}

/// Check that counted calls of 6.12 are explained.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn counted_calls() -> Result<()> {
    let lone = Lone::of("6.12")?.cpu("Skylake-Server").append(COUNTED);
    explained(lone, Mechanism::CallSite, 200_000)
}
