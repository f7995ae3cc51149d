//! Follows a branch out of the text, by the kernel's own lists.

use super::super::branch::{CALL, JMP};
use super::super::page::Open;
use super::cause::{Cause, NoCause};
use super::registry::Tracing;
use super::{bpf, ftrace, static_call};

/// Reported for branches of a kernel whose lists of tracers cannot be read.
const NO_TYPES: &str = "the kernel's lists of tracers cannot be read without type information";

impl Tracing<'_> {
    /// Whether the cause of a branch depends on its place, and not only on its target.
    pub(in super::super) fn is_of_place(&self, open: &Open) -> bool {
        self.is_inside(open.target)
            || self.expected.is_static_call(open.at)
            || self.tracer_at(open.target).is_some_and(|ops| self.shared.contains(&Some(ops.func)))
    }

    /// The cause of a branch to a target that the tables do not list.
    ///
    /// # Errors
    /// What is wrong with the target, or why it cannot be judged.
    pub(in super::super) fn follow(&self, open: &Open) -> Result<Cause, NoCause> {
        let inside = u32::try_from(open.target).ok().filter(|_| self.is_inside(open.target));
        if let Some(target) = inside {
            return Ok(ftrace::within(self, open.at, open.opcode, target)?);
        }
        let virt = self.state.virt_of(open.target);
        if let Some(ops) = self.tracer_at(open.target) {
            return Ok(ftrace::trampoline(self, ops, open)?);
        }
        if let Some(program) = self.programs.at(virt) {
            return Ok(bpf::trampoline(self, program, virt)?);
        }
        if self.expected.is_static_call(open.at) {
            return Ok(static_call::function(self, virt)?);
        }
        if self.layouts.is_none() {
            return Err(NoCause::NotJudged(NO_TYPES));
        }
        let why = match open.opcode {
            CALL => "a call to an unregistered target",
            JMP => "a jump to an unregistered target",
            _ => "a branch to an unregistered target",
        };
        Err(why.into())
    }
}
