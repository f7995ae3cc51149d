//! BPF programs of many kinds on a kernel that is alone on a machine, and thousands of programs.

use anyhow::{Result, ensure};
use watchdog_core::verify::{Sweep, Verdict};
use watchdog_tests::lone::Lone;
use watchdog_tests::service::{Hook, Request};

/// More programs than lists of 4,096 entries have.
const MANY: u32 = 5000;
/// What ftrace calls for programs that are attached to functions.
const DIRECT: &str = "call_direct_funcs";

fn attach(lone: &Lone, hook: Hook) -> Result<()> {
    lone.node().request(&Request::Attach { hook }).map(drop)
}

/// The causes with places in the text, by name.
fn causes(swept: &Sweep) -> Vec<&str> {
    swept.causes.iter().map(|(cause, _)| cause.name.as_str()).collect()
}

/// Check that programs of network interfaces, of functions and of hooks are explained, and that
/// each dispatcher and trampoline is named by its program.
fn programs_are_named(kernel: &str) -> Result<()> {
    let lone = Lone::of(kernel)?.boot()?;
    let function = String::from;
    attach(&lone, Hook::Xdp { interface: 1 })?;
    attach(&lone, Hook::Fentry { function: function("vfs_read") })?;
    attach(&lone, Hook::Lsm { hook: "file_open".into() })?;
    // Debian's 6.1 has no fprobe, by which a program is attached to several functions.
    if kernel != "6.1" {
        let functions = ["vfs_fsync", "vfs_rename"].map(function).into();
        attach(&lone, Hook::KprobeMulti { functions })?;
    }
    let swept = lone.judge(lone.image())?;
    let causes = causes(&swept);
    println!("{kernel} | {} by {causes:?}", swept.verdict);
    ensure!(swept.verdict == Verdict::Instrumented, "{:#x?}", swept.unexplained);
    let programs = causes.iter().filter(|name| name.starts_with("bpf_prog_")).count();
    ensure!(programs >= 2, "no program is named: {causes:?}");
    Ok(())
}

#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn programs_are_named_6_1() -> Result<()> {
    programs_are_named("6.1")
}

#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn programs_are_named_7_2() -> Result<()> {
    programs_are_named("7.2")
}

/// Check that a program is found on a list of thousands.
#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn thousands_of_programs() -> Result<()> {
    let lone = Lone::of("6.12")?.boot()?;
    attach(&lone, Hook::Fentry { function: "vfs_read".into() })?;
    attach(&lone, Hook::Xdp { interface: 1 })?;
    // The newest programs come first on the list.
    attach(&lone, Hook::Unattached { count: MANY })?;
    let swept = lone.judge(lone.image())?;
    println!("{MANY} programs | {} in {:.0?}", swept.verdict, swept.elapsed);
    ensure!(swept.verdict == Verdict::Instrumented, "{:#x?}", swept.unexplained);
    let is_named = |name: &&str| name.starts_with("bpf_prog_") || *name == DIRECT;
    ensure!(causes(&swept).iter().all(is_named), "{:?}", swept.causes);
    Ok(())
}
