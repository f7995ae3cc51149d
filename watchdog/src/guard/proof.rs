//! Whether each path is really denied: tried, not assumed.
//!
//! A BPF LSM program attaches without error where it never fires, and one write to
//! `kernel.ftrace_enabled` turns all of them off without detaching them. A path counts as denied
//! only when the attempt failed with EPERM *and* the program counted it.

use std::borrow::Borrow;
use std::fmt;
use std::io;

use aya::maps::{Array, MapData};

use super::decoy::Decoy;
use super::{OpenPolicy, WritePath};

/// What became of an attempt on the decoy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The guard denied it.
    Denied,
    /// Policy allows this path: its use is judged on the other ones.
    AllowedByPolicy,
    /// It was not denied, or not by the guard: why.
    NotDenied(String),
}

/// The proof of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathProof {
    /// The path.
    pub path: WritePath,
    /// What became of it.
    pub outcome: Outcome,
}

/// The proofs of all paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage(pub Vec<PathProof>);

impl Coverage {
    /// The paths that should be denied and are not, each with its reason.
    #[must_use]
    pub fn open(&self) -> Vec<String> {
        let open = |proof: &PathProof| match &proof.outcome {
            Outcome::NotDenied(why) => Some(format!("{}: {why}", proof.path)),
            Outcome::Denied | Outcome::AllowedByPolicy => None,
        };
        self.0.iter().filter_map(open).collect()
    }

    /// The paths seen to be denied.
    fn denied(&self) -> Vec<String> {
        let denied = self.0.iter().filter(|proof| proof.outcome == Outcome::Denied);
        denied.map(|proof| proof.path.to_string()).collect()
    }
}

/// `4 of 5 paths denied (write, mmap, remap-file-pages, mprotect)`.
impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let denied = self.denied();
        write!(f, "{} of {} paths denied ({})", denied.len(), self.0.len(), denied.join(", "))?;
        for proof in &self.0 {
            if proof.outcome == Outcome::AllowedByPolicy {
                write!(f, "; {} is allowed by policy, its use is judged", proof.path)?;
            }
        }
        Ok(())
    }
}

/// Tries every path.
pub(super) fn prove(
    decoy: &Decoy,
    proofs: &Array<impl Borrow<MapData>, u64>,
    open: OpenPolicy,
) -> Coverage {
    let prove = |path: WritePath| {
        let outcome = match path {
            WritePath::Open if open == OpenPolicy::Allow => Outcome::AllowedByPolicy,
            WritePath::Open => attempt(path, proofs, || decoy.try_open()),
            WritePath::Write => attempt(path, proofs, || decoy.try_write()),
            WritePath::Mmap => attempt(path, proofs, || decoy.try_mmap()),
            WritePath::RemapFilePages => attempt(path, proofs, || decoy.try_remap()),
            WritePath::Mprotect => attempt(path, proofs, || decoy.try_mprotect()),
        };
        PathProof { path, outcome }
    };
    Coverage(WritePath::ALL.map(prove).to_vec())
}

fn attempt(
    path: WritePath,
    proofs: &Array<impl Borrow<MapData>, u64>,
    act: impl FnOnce() -> io::Result<()>,
) -> Outcome {
    let count = || proofs.get(&path.number(), 0).ok();
    let before = count();
    let result = act();
    let counted = count() != before;
    judge(&result, counted)
}

/// What an attempt's result means, given whether the program counted a denial.
fn judge(result: &io::Result<()>, counted: bool) -> Outcome {
    Outcome::NotDenied(match result {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) && counted => {
            return Outcome::Denied;
        }
        Ok(()) if counted => "the program denied it, and it succeeded all the same".to_owned(),
        Ok(()) => "it succeeded, the program did not fire".to_owned(),
        Err(error) => format!("it failed ({error}), but not by the guard"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that only an EPERM that the program counted is a denial: another security module's
    /// EPERM, another error and a success are not.
    #[test]
    fn what_counts_as_denied() {
        let failure = |errno| Err(io::Error::from_raw_os_error(errno));
        assert_eq!(judge(&failure(libc::EPERM), true), Outcome::Denied);
        for (result, counted) in [
            (failure(libc::EPERM), false),
            (failure(libc::EINVAL), true),
            (Ok(()), true),
            (Ok(()), false),
        ] {
            assert!(matches!(judge(&result, counted), Outcome::NotDenied(_)), "{result:?}");
        }
    }

    /// Check that coverage names what is open, with the reason, and counts the rest.
    #[test]
    fn coverage() {
        let proof = |path, outcome| PathProof { path, outcome };
        let coverage = Coverage(vec![
            proof(WritePath::Open, Outcome::AllowedByPolicy),
            proof(WritePath::Write, Outcome::Denied),
            proof(WritePath::Mmap, Outcome::NotDenied("it succeeded".into())),
        ]);
        assert_eq!(coverage.open(), ["mmap: it succeeded"]);
        assert!(coverage.to_string().starts_with("1 of 3 paths denied (write)"));
    }
}
