//! Attaching the programs to what this kernel has.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use aya::programs::{CgroupAttachMode, CgroupSysctl, FEntry, FExit, Lsm, ProgramError};
use aya::{Btf, Ebpf};

use super::load::GuardError;
use super::preflight::PreflightError;
use super::programs::{Kind, PROGRAMS, Program};
use super::{Policies, Policy, WritePath};
use crate::btf as kernel_types;

/// Where the root cgroup is; every process is in it.
pub(super) const ROOT_CGROUP: &str = "/sys/fs/cgroup";

/// Attaches every program that some policy needs; says which paths the kernel has no place for.
pub(super) fn attach(
    programs: &mut Ebpf,
    kernel: &kernel_types::Btf,
    policies: &Policies,
) -> Result<BTreeMap<WritePath, String>, GuardError> {
    let btf = Btf::from_sys_fs().map_err(|error| PreflightError::NoBtf(io::Error::other(error)))?;
    let mut lacking: BTreeMap<WritePath, String> = BTreeMap::new();
    for program in &PROGRAMS {
        if program.paths.iter().all(|path| policies.get(*path) == Policy::Off) {
            continue;
        }
        match program.function(kernel) {
            Ok(function) => attach_one(programs, program, function, &btf)?,
            Err(_) if program.optional => {}
            Err(why) => lacking.extend(program.paths.iter().map(|path| (*path, why.clone()))),
        }
    }
    Ok(lacking)
}

fn attach_one(
    programs: &mut Ebpf,
    program: &Program,
    function: &str,
    btf: &Btf,
) -> Result<(), GuardError> {
    let name = program.name;
    let done = match program.kind {
        Kind::Entry => {
            let program: &mut FEntry = find(programs, name)?;
            program.load(function, btf).and_then(|()| program.attach().map(drop))
        }
        Kind::Exit => {
            let program: &mut FExit = find(programs, name)?;
            program.load(function, btf).and_then(|()| program.attach().map(drop))
        }
        Kind::Lsm => {
            let program: &mut Lsm = find(programs, name)?;
            program.load(name, btf).and_then(|()| program.attach().map(drop))
        }
        Kind::Sysctl => {
            let root = File::open(ROOT_CGROUP).map_err(GuardError::Cgroup)?;
            let program: &mut CgroupSysctl = find(programs, name)?;
            // A link stands beside other programs by itself, and takes no flag that says so.
            let mode = CgroupAttachMode::Single;
            program.load().and_then(|()| program.attach(root, mode).map(drop))
        }
    };
    done.map_err(|error| GuardError::Program(name, refusal(error)))
}

/// Why the kernel refused a program: of the verifier's log, which may have a million lines, the end.
fn refusal(error: ProgramError) -> String {
    const LINES: usize = 8;
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
            let end = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
            format!("{io_error}; its verifier says: {}", end.join(" | "))
        }
        error => crate::alert::chain(&error),
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
