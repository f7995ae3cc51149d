//! Whether each path is really denied: tried, not assumed.
//!
//! A BPF LSM program attaches without error where it never fires, and one write to
//! `kernel.ftrace_enabled` turns all of them off without detaching them. A path counts as denied
//! only when the attempt failed with EPERM *and* the program counted it.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::io;

use aya::maps::{Array, MapData};
use watchdog_common::Doors;

use super::coverage::{Coverage, Outcome, PathProof};
use super::decoy::Decoy;
use super::{Policies, Policy, WritePath, doors, stand_in};

/// Tries every path; `lacking` are those that the kernel has no place for.
pub(super) fn prove(
    decoy: &Decoy,
    proofs: &Array<impl Borrow<MapData>, u64>,
    policies: &Policies,
    lacking: &BTreeMap<WritePath, String>,
    known: &Doors,
) -> Coverage {
    let prove = |path: WritePath| {
        let policy = policies.get(path);
        let seen = |act: &dyn Fn() -> io::Result<()>| attempt(path, policy, proofs, act);
        let outcome = match path {
            _ if policy == Policy::Off => Outcome::Off,
            path if lacking.contains_key(&path) => {
                Outcome::Missing(lacking.get(&path).cloned().unwrap_or_default())
            }
            WritePath::Open => match seen(&|| decoy.try_open()) {
                Outcome::Seen if !decoy.is_writable => Outcome::SeenBy("the device program"),
                outcome => outcome,
            },
            WritePath::Write => seen(&|| decoy.try_write()),
            WritePath::Mmap => seen(&|| decoy.try_mmap()),
            WritePath::RemapFilePages => seen(&|| decoy.try_remap()),
            WritePath::Mprotect => seen(&|| decoy.try_mprotect()),
            WritePath::Pci => seen(&stand_in::ports),
            WritePath::Frames if !decoy.is_writable => {
                Outcome::NotTried("it takes /dev/mem open for writing, which nobody has")
            }
            WritePath::Frames => seen(&|| decoy.try_frames()),
            WritePath::Ioremap => seen(&|| decoy.try_ioremap()),
            WritePath::Module => seen(&stand_in::module),
            WritePath::KexecSegments if policies.get(WritePath::Kexec) >= Policy::Deny => {
                Outcome::NotTried("every kexec is refused before it")
            }
            WritePath::KexecSegments => seen(&stand_in::kexec_segment),
            WritePath::Kexec => seen(&stand_in::kexec_nothing),
            WritePath::Lockdown => seen(&stand_in::port),
            WritePath::Ftrace => seen(&stand_in::ftrace),
            WritePath::Iommu if policy < Policy::Deny => {
                Outcome::NotTried("only VFIO, iommufd or a driver can do it")
            }
            WritePath::Iommu => {
                doors::unknown_to(known).map_or_else(|| seen(&stand_in::door), Outcome::Missing)
            }
            WritePath::Dma => Outcome::NotTried("only a driver can do it"),
            WritePath::Fault => Outcome::NotTried("only a driver can do it"),
            WritePath::Parameters => Outcome::NotTried("only a module that is loaded can do it"),
            WritePath::Hotplug => Outcome::NotTried("it cannot be undone"),
        };
        PathProof { path, policy, outcome }
    };
    Coverage(WritePath::ALL.map(prove).to_vec())
}

fn attempt(
    path: WritePath,
    policy: Policy,
    proofs: &Array<impl Borrow<MapData>, u64>,
    act: &dyn Fn() -> io::Result<()>,
) -> Outcome {
    let count = || proofs.get(&path.number(), 0).ok();
    let before = count();
    let result = act();
    let counted = count() != before;
    // Programs that only kill or see let the act itself succeed.
    let must_fail = policy >= Policy::Deny && path.allows(Policy::Deny).is_ok();
    judge(&result, counted, must_fail)
}

/// What an attempt's result means, given whether the program counted it.
fn judge(result: &io::Result<()>, counted: bool, must_fail: bool) -> Outcome {
    let is_denied = matches!(result, Err(error) if error.raw_os_error() == Some(libc::EPERM));
    if counted && (is_denied || !must_fail) {
        return Outcome::Seen;
    }
    Outcome::Missing(match result {
        Ok(()) if counted => "the program denied it, and it succeeded all the same".to_owned(),
        Ok(()) => "it succeeded, the program did not fire".to_owned(),
        Err(error) => format!("it failed ({error}), but not by the guard"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that only an EPERM that the program counted is a denial: another security module's
    /// EPERM, another error and a success are not; and that what is only seen need not fail.
    #[test]
    fn what_counts() {
        let failure = |errno| Err(io::Error::from_raw_os_error(errno));
        assert_eq!(judge(&failure(libc::EPERM), true, true), Outcome::Seen);
        for (result, counted) in [
            (failure(libc::EPERM), false),
            (failure(libc::EINVAL), true),
            (Ok(()), true),
            (Ok(()), false),
        ] {
            assert!(matches!(judge(&result, counted, true), Outcome::Missing(_)), "{result:?}");
            let expected = if counted { "Seen" } else { "Missing" };
            let outcome = format!("{:?}", judge(&result, counted, false));
            assert!(outcome.starts_with(expected), "{result:?}: {outcome}");
        }
    }
}
