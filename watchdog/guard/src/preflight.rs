//! Checks before the guard is loaded. Each error has a remedy.

use std::fs;
use std::io;

use watchdog_common::{Field, ITSELF, MISSING, Offsets, Presence};

use watchdog_core::btf::{ANY_SIZE, Btf, BtfError};

const LSM_LIST: &str = "/sys/kernel/security/lsm";
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// A requirement that is not met.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// This process is not root.
    #[error(
        "the guard needs root (CAP_SYS_ADMIN, CAP_BPF, CAP_PERFMON and CAP_SYS_RAWIO): run it \
         with sudo"
    )]
    Privilege,
    /// The kernel has no type information.
    #[error(
        "{BTF} cannot be read ({0}): the guard needs a kernel built with CONFIG_DEBUG_INFO_BTF=y, \
         as distribution kernels are"
    )]
    NoBtf(io::Error),
    /// The list of LSMs cannot be read.
    #[error(
        "{LSM_LIST} cannot be read ({0}), so it is unknown whether `bpf` is an active LSM: mount \
         securityfs (mount -t securityfs securityfs /sys/kernel/security)"
    )]
    NoSecurityfs(io::Error),
    /// `bpf` is not an active LSM: programs would attach and never fire.
    #[error(
        "`bpf` is not among the active LSMs ({active}), so eBPF cannot deny anything: add \
         lsm={active},bpf to the kernel command line and reboot"
    )]
    NoBpfLsm {
        /// The active LSMs.
        active: String,
    },
    /// A structure of this kernel is not as the guard expects.
    #[error("the guard does not fit this kernel: {0}")]
    Kernel(#[from] BtfError),
}

/// Information about the running kernel.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) btf: Btf,
    /// The offsets at which the programs read.
    pub(super) offsets: Offsets,
    /// Why LSM programs never fire, if the caller accepts that; `None` if they fire.
    pub(super) no_lsm: Option<String>,
}

/// Checks all requirements, and resolves the offsets at which the programs read. `without_lsm`:
/// whether the caller accepts that `bpf` is not an active LSM.
pub(super) fn check(without_lsm: bool) -> Result<Running, PreflightError> {
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        return Err(PreflightError::Privilege);
    }
    let active = fs::read_to_string(LSM_LIST).map_err(PreflightError::NoSecurityfs)?;
    let no_lsm = match check_lsm(active.trim()) {
        Err(error) if without_lsm => Some(error.to_string()),
        checked => checked.map(|()| None)?,
    };
    let btf = Btf::parse(fs::read(BTF).map_err(PreflightError::NoBtf)?)?;
    log::debug!("active LSMs: {}", active.trim());
    let offsets = offsets(&btf)?;
    log::debug!("fields of this kernel's structures: {offsets:?}");
    Ok(Running { btf, offsets, no_lsm })
}

/// The offsets of all fields that the programs read.
pub(super) fn offsets(btf: &Btf) -> Result<Offsets, PreflightError> {
    let offsets = Offsets::resolve(|field| offset_of(btf, field));
    Ok(offsets.inspect_err(|error| log::debug!("{error}"))?)
}

fn check_lsm(active: &str) -> Result<(), PreflightError> {
    if active.split(',').any(|name| name == "bpf") {
        return Ok(());
    }
    Err(PreflightError::NoBpfLsm { active: active.to_owned() })
}

/// The offset of a field that the programs read.
fn offset_of(btf: &Btf, field: &Field) -> Result<u32, BtfError> {
    let offset = btf.offset(field.structure, field.member, field.size.unwrap_or(ANY_SIZE));
    match field.presence {
        Presence::Required => offset,
        Presence::Optional => Ok(offset.unwrap_or(MISSING)),
        Presence::Through(function, parameter) => match btf.points_to(function, parameter) {
            Some(structure) if structure == field.structure.as_bytes() => offset,
            _ => Ok(ITSELF),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that the remedy for a missing LSM is the whole text for the kernel command line.
    #[test]
    fn lsm() {
        assert!(check_lsm("lockdown,capability,bpf").is_ok());
        let error = check_lsm("lockdown,capability,bpfilter").unwrap_err().to_string();
        assert!(error.contains("lsm=lockdown,capability,bpfilter,bpf "), "{error}");
    }
}
