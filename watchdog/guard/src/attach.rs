//! Attaching the programs to what this kernel has.

use std::os::fd::AsFd;

use aya::programs::links::FdLink;
use aya::programs::{
    CgroupDevice, CgroupSysctl, FEntry, FExit, Iter, Lsm, ProgramError, ProgramFd,
};
use aya::{Btf, Ebpf};

use super::Policies;
use super::bpf::{self, CgroupHook};
use super::control_groups::root_cgroup;
use super::error::GuardError;
use super::pins::Generation;
use super::program::{Kind, Program, Stage};
use super::programs::attach_order;
use watchdog_core::btf as kernel_types;

/// What the name of a hook's function begins with (kernel/bpf/bpf_lsm.c).
const LSM_FUNCTION: &str = "bpf_lsm_";
/// Attaches every program that some policy needs and the kernel has a place for, and pins it.
/// `btf`: the kernel's types as the loader reads them. `has_lsm`: whether LSM programs would ever
/// fire; where not, others stand in for them. `late`: only those that refuse what loading the
/// others takes, else all but them.
pub(super) fn attach(
    programs: &mut Ebpf,
    kernel: &kernel_types::Btf,
    btf: &Btf,
    policies: &Policies,
    has_lsm: bool,
    late: bool,
    generation: &Generation,
) -> Result<(), GuardError> {
    let of_now = attach_order().into_iter().filter(|it| (it.program.stage == Stage::Late) == late);
    for needed in of_now {
        let program = needed.program;
        let name = program.name;
        if !needed.is_needed(policies) {
            log::debug!("program {name}: not attached, no policy needs it");
        } else if !program.fits(kernel, has_lsm) {
            log::debug!("program {name}: not attached, {}", misfit(program.kind, has_lsm));
        } else {
            match program.function(kernel) {
                Ok(function) => {
                    attach_one(programs, program, function, btf, generation)?;
                    log::debug!("program {name}: attached, {}", place(program.kind, function));
                }
                Err(why) => log::debug!("program {name}: not attached: {why}"),
            }
        }
    }
    Ok(())
}

/// Why a program does not fit a kernel, for the log.
const fn misfit(kind: Kind, has_lsm: bool) -> &'static str {
    match (kind, has_lsm) {
        (Kind::Lsm, false) => "no LSM program fires on this kernel",
        (Kind::Device, true) => "LSM programs do its work on this kernel",
        _ => "another program covers it on this kernel",
    }
}

/// Where a program is attached, for the log.
fn place(kind: Kind, function: &str) -> String {
    match kind {
        Kind::Lsm => format!("to the LSM hook {function}"),
        Kind::Entry => format!("to the entry of {function}"),
        Kind::Exit => format!("to the exit of {function}"),
        Kind::Sysctl => "to settings, in the root control group".to_owned(),
        Kind::Device => "to opens of devices, in the root control group".to_owned(),
        Kind::Listing(objects) => format!("to no hook; it lists {objects}"),
    }
}

fn attach_one(
    programs: &mut Ebpf,
    program: &Program,
    function: &str,
    btf: &Btf,
    generation: &Generation,
) -> Result<(), GuardError> {
    let name = program.name;
    let refused = |error| GuardError::Program(name, refusal(error));
    // Three types with the same methods, and no trait of aya's that has them.
    macro_rules! traced {
        ($kind:ty, $function:expr) => {{
            let program: &mut $kind = find(programs, name)?;
            program.load($function, btf).map_err(refused)?;
            let link = program.attach().and_then(|id| program.take_link(id));
            link.map_err(refused)?.into()
        }};
    }
    let link: FdLink = match program.kind {
        Kind::Entry => traced!(FEntry, function),
        Kind::Exit => traced!(FExit, function),
        Kind::Lsm => traced!(Lsm, function.trim_start_matches(LSM_FUNCTION)),
        Kind::Listing(objects) => {
            let program: &mut Iter = find(programs, name)?;
            program.load(objects, btf).map_err(refused)?;
            // Without a link, which others could give another program: each list has its own.
            let path = generation.program(name);
            return program.pin(&path).map_err(|error| GuardError::Pin(path, error.into()));
        }
        Kind::Sysctl => {
            let program: &mut CgroupSysctl = find(programs, name)?;
            program.load().map_err(refused)?;
            let path = generation.on_cgroup(CgroupHook::Settings);
            program.pin(&path).map_err(|error| GuardError::Pin(path, error.into()))?;
            return attach_to_cgroup(program.fd().map_err(refused)?, CgroupHook::Settings);
        }
        Kind::Device => {
            let program: &mut CgroupDevice = find(programs, name)?;
            program.load().map_err(refused)?;
            let path = generation.on_cgroup(CgroupHook::Device);
            program.pin(&path).map_err(|error| GuardError::Pin(path, error.into()))?;
            return attach_to_cgroup(program.fd().map_err(refused)?, CgroupHook::Device);
        }
    };
    let path = generation.link(name);
    // The pin holds it from here on, with this process or without.
    link.pin(&path).map(drop).map_err(|error| GuardError::Pin(path, error.into()))
}

/// Attaches a program to the root cgroup without a link, which others could detach.
fn attach_to_cgroup(program: &ProgramFd, hook: CgroupHook) -> Result<(), GuardError> {
    let root = root_cgroup().map_err(GuardError::Cgroup)?;
    bpf::attach_to_cgroup(&root, program.as_fd(), hook).map_err(GuardError::Cgroup)
}

/// Why the kernel refused a program: of the verifier's log, which may have a million lines, the
/// end.
fn refusal(error: ProgramError) -> String {
    const LINES: usize = 8;
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
            let end = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
            format!("{io_error}; its verifier says: {}", end.join(" | "))
        }
        error => watchdog_core::text::chain(&error),
    }
}

fn find<'a, P>(programs: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, GuardError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program>,
{
    programs
        .program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(GuardError::Missing(name))
}
