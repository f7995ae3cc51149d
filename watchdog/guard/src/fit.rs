//! Which of the guard's programs attach on a kernel, from its types alone: before it boots.

use std::collections::BTreeMap;

use super::attachment::Attachment;
use super::kernel_enums::KernelEnums;
use super::preflight::{PreflightError, offsets};
use super::programs::{attach_order, lacking};
use super::{Policies, Preset, WritePath};
use watchdog_core::btf::Btf;

/// What a guard of a preset would be on a kernel. The same functions plan a guard that is loaded.
/// The kernel's verifier, and its configuration beyond its types, may still refuse.
#[derive(Debug)]
pub struct Fit {
    /// Programs that the preset needs on some kernel.
    pub needed: usize,
    /// Programs that attach on this kernel. Some of the others are for other kernels.
    pub attached: Vec<&'static str>,
    /// Paths whose policy is not `off` and for which the kernel has no hook, each with the reason.
    pub lacking: BTreeMap<WritePath, String>,
}

impl Fit {
    /// Plans a guard for the kernel with these types, as if `bpf` were among its active LSMs.
    ///
    /// # Errors
    /// [`PreflightError::Kernel`] if the guard would not load: a field or a name is missing.
    pub fn of(btf: &Btf, preset: Preset) -> Result<Self, PreflightError> {
        offsets(btf)?;
        KernelEnums::resolve(btf)?;
        let policies = Policies::of(preset);
        let all = Attachment::all(btf, &policies, true);
        Ok(Self {
            needed: attach_order().iter().filter(|it| it.is_needed(&policies)).count(),
            attached: all.iter().map(|it| it.program.name).collect(),
            lacking: lacking(btf, &policies, None),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::made_up::facts;

    /// Check that a kernel whose types lack a structure that the programs read is refused by name.
    #[test]
    fn no_structure() {
        let btf = facts(&[]).kernel.btf;
        let refused = Fit::of(&btf, Preset::Strict).unwrap_err().to_string();
        assert!(refused.starts_with("the guard does not fit this kernel: "), "{refused}");
    }
}
