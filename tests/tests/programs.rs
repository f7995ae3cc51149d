//! BPF programs of many kinds on a kernel that is alone on a machine, and thousands of programs.

use anyhow::{Result, ensure};
use watchdog_core::verify::Verdict;
use watchdog_tests::lone::Lone;
use watchdog_tests::service::{Hook, Request};

/// More programs than lists of 4,096 entries have.
const MANY: u32 = 5000;
/// Modules by which the kernel has programs of traffic control on an interface.
const MODULES: [&str; 2] = ["sch_ingress", "cls_bpf"];
/// The start of a program's name in kallsyms, and the starts of the names of what ftrace calls for
/// programs at functions.
const PROGRAM: &str = "bpf_prog_";
const TRACERS: [&str; 3] = [PROGRAM, "call_direct_funcs", "fprobe_"];

fn attach(lone: &Lone, hook: Hook) -> Result<()> {
    lone.node().request(&Request::Attach { hook }).map(drop)
}

/// Boots a kernel with the modules that [`attach_every_kind`] needs.
fn boot(kernel: &str) -> Result<Lone> {
    MODULES.iter().fold(Lone::of(kernel)?, |lone, module| lone.module(module)).boot()
}

/// Attaches a program of every kind that the kernel has.
fn attach_every_kind(lone: &Lone, kernel: &str) -> Result<()> {
    let (function, interface) = (String::from, || "lo".to_owned());
    for name in MODULES {
        let (name, parameters) = (name.to_owned(), String::new());
        lone.node().request(&Request::LoadModule { name, parameters })?;
    }
    attach(lone, Hook::Xdp { interface: 1 })?;
    attach(lone, Hook::Extension { interface: 1 })?;
    attach(lone, Hook::Clsact { interface: interface() })?;
    attach(lone, Hook::TcpCongestion { name: "made_up".into() })?;
    attach(lone, Hook::Fentry { function: function("vfs_read") })?;
    attach(lone, Hook::Lsm { hook: "file_open".into() })?;
    // Debian's 6.1 has no fprobe, by which a program is attached to several functions, and no tcx.
    if kernel != "6.1" {
        let functions = ["vfs_fsync", "vfs_rename"].map(function).into();
        attach(lone, Hook::KprobeMulti { functions })?;
        attach(lone, Hook::Tcx { interface: interface() })?;
    }
    Ok(())
}

/// Check that programs of every kind are explained, and that each dispatcher and trampoline is
/// named by its program, also on a list with many others. Programs of traffic control, of a
/// congestion control and of an extension are called by pointers, or change the code of another
/// program. They must not be taken for changes of the kernel's text.
fn programs_are_named(kernel: &str, others: u32) -> Result<()> {
    let lone = boot(kernel)?;
    attach_every_kind(&lone, kernel)?;
    // The newest programs come first on the list.
    attach(&lone, Hook::Unattached { count: others })?;
    let swept = lone.judge(lone.image())?;
    let causes: Vec<_> = swept.causes.iter().map(|(cause, _)| cause.name.as_str()).collect();
    println!("{kernel} | {} in {:.0?} by {causes:?}", swept.verdict, swept.elapsed);
    ensure!(swept.verdict == Verdict::Instrumented, "{:#x?}", swept.unexplained);
    ensure!(swept.unexplained_total == 0, "{:#x?}", swept.unexplained);
    let programs = causes.iter().filter(|name| name.starts_with(PROGRAM)).count();
    ensure!(programs >= 2, "no program is named: {causes:?}");
    let mut names = causes.iter().flat_map(|name| name.split(", "));
    ensure!(names.all(|it| TRACERS.iter().any(|known| it.starts_with(known))), "{causes:?}");
    let registered = lone.node().read("/proc/sys/net/ipv4/tcp_available_congestion_control")?;
    let registered = String::from_utf8(registered)?;
    ensure!(registered.split_whitespace().any(|it| it == "made_up"), "{registered}");
    Ok(())
}

#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn programs_are_named_6_1() -> Result<()> {
    programs_are_named("6.1", 0)
}

#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn programs_are_named_7_2() -> Result<()> {
    programs_are_named("7.2", 0)
}

#[test]
#[ignore = "boots a machine: cargo xtask test"]
fn thousands_of_programs() -> Result<()> {
    programs_are_named("6.12", MANY)
}
