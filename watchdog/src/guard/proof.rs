//! Whether each path is really denied: tried, not assumed.
//!
//! A BPF LSM program attaches without error where it never fires, and one write to
//! `kernel.ftrace_enabled` turns all of them off without detaching them. A path counts as denied
//! only when the attempt failed with EPERM *and* the program counted it.
//!
//! The kernel skips a program at a function while another thread is in the midst of it that was
//! preempted there, on the same processor (`__bpf_prog_enter_recur`, kernel/bpf/trampoline.c, 6.1 to
//! 7.2). What it saves is then missing: denied, but not known to be the decoy. So an attempt that
//! did not succeed where it must not is made again before anything is said.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::io;
use std::thread;
use std::time::Duration;

use aya::maps::{Array, MapData};

use super::coverage::{Coverage, Outcome, PathProof};
use super::decoy::Decoy;
use super::{Policies, Policy, WritePath, stand_in};

/// How long is waited before an attempt is made once more, each time twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(1);
const LAST_WAIT: Duration = Duration::from_millis(32);

/// Tries every path; `lacking` are those that the kernel has no place for.
pub(super) fn prove(
    decoy: &Decoy,
    proofs: &Array<impl Borrow<MapData>, u64>,
    policies: &Policies,
    lacking: &BTreeMap<WritePath, String>,
) -> Coverage {
    let prove = |path: WritePath| {
        let policy = policies.get(path);
        let seen = |act: &dyn Fn() -> io::Result<()>| attempt(path, policy, proofs, act);
        let outcome = match path {
            _ if policy == Policy::Off => Outcome::Off,
            path if lacking.contains_key(&path) => {
                Outcome::Missing(lacking.get(&path).cloned().unwrap_or_default())
            }
            WritePath::Open => seen(&|| decoy.try_open()),
            WritePath::Write => seen(&|| decoy.try_write()),
            WritePath::Mmap => seen(&|| decoy.try_mmap()),
            WritePath::RemapFilePages => seen(&|| decoy.try_remap()),
            WritePath::Mprotect => seen(&|| decoy.try_mprotect()),
            WritePath::Pci => seen(&stand_in::ports),
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
    // Programs that only kill or see let the act itself succeed.
    let must_fail = policy >= Policy::Deny && path.allows(Policy::Deny).is_ok();
    let mut wait = FIRST_WAIT;
    loop {
        let before = count();
        let result = act();
        let outcome = judge(&result, count() != before, must_fail);
        let is_open = must_fail && result.is_ok();
        if outcome == Outcome::Seen || is_open || wait > LAST_WAIT {
            return outcome;
        }
        thread::sleep(wait);
        wait *= 2;
    }
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
