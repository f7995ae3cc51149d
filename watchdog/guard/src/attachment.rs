//! The programs that are attached on a kernel, their places, and their order.

use super::Policies;
use super::program::{Kind, Program};
use super::programs::{PathProgram, attach_order};
use watchdog_core::btf::Btf;

/// A program, and the function that it is attached to.
#[derive(Clone, Debug)]
pub(super) struct Attachment {
    pub(super) program: &'static Program,
    /// The function; empty for a program that needs none.
    pub(super) function: &'static str,
}

impl Attachment {
    /// Every program that some policy needs and for which this kernel has a hook, in the order of
    /// attaching. `has_lsm`: whether LSM programs fire; if not, other programs replace them.
    pub(super) fn all(btf: &Btf, policies: &Policies, has_lsm: bool) -> Vec<Self> {
        let attachment = |needed: PathProgram| {
            let program = needed.program;
            let place = place(&needed, btf, policies, has_lsm).inspect_err(|why| {
                log::debug!("program {}: not attached: {why}", program.name);
            });
            place.ok().map(|function| Self { program, function })
        };
        attach_order().into_iter().filter_map(attachment).collect()
    }

    /// The place where the program is attached, for the log.
    pub(super) fn place(&self) -> String {
        let function = self.function;
        match self.program.kind {
            Kind::Lsm => format!("to the LSM hook {function}"),
            Kind::Entry => format!("to the entry of {function}"),
            Kind::Exit => format!("to the exit of {function}"),
            Kind::Sysctl => "to settings, in the root control group".to_owned(),
            Kind::Device => "to opens of devices, in the root control group".to_owned(),
            Kind::Listing(objects) => format!("to no hook; it lists {objects}"),
        }
    }
}

/// The function that a program is attached to, or why the program is not attached.
fn place(
    needed: &PathProgram,
    btf: &Btf,
    policies: &Policies,
    has_lsm: bool,
) -> Result<&'static str, String> {
    let program = needed.program;
    if !needed.is_needed(policies) {
        return Err("no policy needs it".to_owned());
    }
    if !program.fits(btf, has_lsm) {
        return Err(misfit(program.kind, has_lsm).to_owned());
    }
    program.function(btf)
}

/// Why a program does not fit a kernel, for the log.
const fn misfit(kind: Kind, has_lsm: bool) -> &'static str {
    match (kind, has_lsm) {
        (Kind::Lsm, false) => "no LSM program fires on this kernel",
        (Kind::Device, true) => "LSM programs do its work on this kernel",
        _ => "another program covers it on this kernel",
    }
}
