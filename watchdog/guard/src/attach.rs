//! Loads the programs, and attaches them to the places that this kernel has.

use std::os::fd::AsFd;
use std::path::PathBuf;

use aya::programs::links::FdLink;
use aya::programs::{CgroupDevice, CgroupSysctl, FEntry, FExit, Iter, Lsm, ProgramError};
use aya::{Btf, Ebpf};

use super::attachment::Attachment;
use super::bpf::{self, CgroupHook};
use super::control_groups::RootCgroup;
use super::error::GuardError;
use super::pins::Generation;
use super::program::Kind;

/// The prefix of the names of LSM hooks' functions (kernel/bpf/bpf_lsm.c).
const LSM_FUNCTION: &str = "bpf_lsm_";

/// Makes the kernel verify a program. A program that makes a list is also pinned here, because
/// nothing attaches it. `btf`: the kernel's types as the loader reads them.
pub(super) fn load(
    programs: &mut Ebpf,
    attachment: &Attachment,
    btf: &Btf,
    generation: &Generation,
) -> Result<(), GuardError> {
    let Attachment { program, function } = attachment;
    let name = program.name;
    let loaded = match program.kind {
        Kind::Entry => find::<FEntry>(programs, name)?.load(function, btf),
        Kind::Exit => find::<FExit>(programs, name)?.load(function, btf),
        Kind::Lsm => {
            let hook = function.trim_start_matches(LSM_FUNCTION);
            find::<Lsm>(programs, name)?.load(hook, btf)
        }
        Kind::Listing(objects) => find::<Iter>(programs, name)?.load(objects, btf),
        Kind::Sysctl => find::<CgroupSysctl>(programs, name)?.load(),
        Kind::Device => find::<CgroupDevice>(programs, name)?.load(),
    };
    loaded.map_err(|error| GuardError::Program(name, refusal(error)))?;
    match program.kind {
        // Pinned without a link: a process could put another program into a link. Each list makes
        // its own link.
        Kind::Listing(_) => pin(programs, name, generation.program(name)),
        _ => Ok(()),
    }
}

/// Attaches a loaded program. From here on a pin keeps it attached, also without this process.
pub(super) fn attach(
    programs: &mut Ebpf,
    attachment: &Attachment,
    generation: &Generation,
) -> Result<(), GuardError> {
    let name = attachment.program.name;
    // Three types have the same methods, and aya has no trait for them.
    macro_rules! link {
        ($kind:ty) => {{
            let program: &mut $kind = find(programs, name)?;
            let link = program.attach().and_then(|id| program.take_link(id));
            let link =
                FdLink::from(link.map_err(|error| GuardError::Program(name, refusal(error)))?);
            let path = generation.link(name);
            link.pin(&path).map(drop).map_err(|error| GuardError::Pin(path, error.into()))?;
        }};
    }
    match attachment.program.kind {
        Kind::Entry => link!(FEntry),
        Kind::Exit => link!(FExit),
        Kind::Lsm => link!(Lsm),
        Kind::Sysctl => attach_to_cgroup(programs, name, CgroupHook::Settings, generation)?,
        Kind::Device => attach_to_cgroup(programs, name, CgroupHook::Device, generation)?,
        Kind::Listing(_) => {}
    }
    log::debug!("program {name}: attached, {}", attachment.place());
    Ok(())
}

/// Attaches a program to the root cgroup, without a link that another process could detach.
fn attach_to_cgroup(
    programs: &mut Ebpf,
    name: &'static str,
    hook: CgroupHook,
    generation: &Generation,
) -> Result<(), GuardError> {
    // The pin comes first: taking the guard down detaches only pinned programs.
    pin(programs, name, generation.on_cgroup(hook))?;
    let program = programs.program(name).ok_or(GuardError::Missing(name))?;
    let program = program.fd().map_err(|error| GuardError::Program(name, refusal(error)))?;
    let root = RootCgroup::open().map_err(GuardError::Cgroup)?;
    bpf::attach_to_cgroup(root.directory(), program.as_fd(), hook).map_err(GuardError::Cgroup)
}

fn pin(programs: &mut Ebpf, name: &'static str, path: PathBuf) -> Result<(), GuardError> {
    let program = programs.program_mut(name).ok_or(GuardError::Missing(name))?;
    program.pin(&path).map_err(|error| GuardError::Pin(path, error.into()))
}

/// Why the kernel refused a program, with the end of the verifier's log. The whole log may have a
/// million lines.
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
