//! Attaching the programs to what this kernel has.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use aya::programs::{
    CgroupAttachMode, CgroupDevice, CgroupSysctl, FEntry, FExit, Lsm, ProgramError,
};
use aya::{Btf, Ebpf};

use super::load::GuardError;
use super::preflight::PreflightError;
use super::programs::{Kind, PROGRAMS, Program};
use super::{Policies, Policy, WritePath};
use crate::btf as kernel_types;

/// Bytes of `struct page` that `dma_page` counts with.
const PAGE_STRUCT: u64 = 64;

/// Where the root cgroup is; every process is in it.
pub(super) const ROOT_CGROUP: &str = "/sys/fs/cgroup";

/// What of path 9 is denied all the same where there are no LSM programs.
const PORTS_ONLY: &str = " (of it, /dev/port is left to the device program)";

/// Attaches every program that some policy needs; says which paths the kernel has no place for.
/// `no_lsm` is why LSM programs would never fire, where that is so.
pub(super) fn attach(
    programs: &mut Ebpf,
    kernel: &kernel_types::Btf,
    policies: &Policies,
    no_lsm: Option<&str>,
) -> Result<BTreeMap<WritePath, String>, GuardError> {
    let btf = Btf::from_sys_fs().map_err(|error| PreflightError::NoBtf(io::Error::other(error)))?;
    let mut lacking: BTreeMap<WritePath, String> = BTreeMap::new();
    for program in &PROGRAMS {
        if program.paths.iter().all(|path| policies.get(*path) == Policy::Off) {
            continue;
        }
        match (program.kind, no_lsm) {
            (Kind::Lsm, Some(why)) => {
                let paths = program.paths.iter().filter(|path| is_lost(**path, policies));
                lacking.extend(paths.map(|path| (*path, why.to_owned())));
                continue;
            }
            (Kind::Device, None) => continue,
            _ if program.is_superfluous(kernel) => continue,
            _ => {}
        }
        match program.function(kernel) {
            Ok(function) => attach_one(programs, program, function, &btf)?,
            Err(_) if program.optional => {}
            Err(why) => lacking.extend(program.paths.iter().map(|path| (*path, why.clone()))),
        }
    }
    if no_lsm.is_some() {
        // The program in their place stands for all of the one, and of the other for ports.
        lacking.remove(&WritePath::Open);
        lacking.entry(WritePath::Pci).and_modify(|why| *why += PORTS_ONLY);
    }
    if let Err(why) = kernel.check_size("page", PAGE_STRUCT) {
        lacking.insert(WritePath::Dma, why.to_string());
    }
    Ok(lacking)
}

/// Whether a path is lost with an LSM program: maps of an IOMMU are seen without any.
fn is_lost(path: WritePath, policies: &Policies) -> bool {
    path != WritePath::Iommu || policies.get(path) >= Policy::Deny
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
        Kind::Device => {
            let root = File::open(ROOT_CGROUP).map_err(GuardError::Cgroup)?;
            let program: &mut CgroupDevice = find(programs, name)?;
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
