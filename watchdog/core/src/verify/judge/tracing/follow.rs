//! Follows a branch out of the text, by the kernel's own lists.

use super::super::branch::{CALL, JMP};
use super::super::page::Open;
use super::cause::Cause;
use super::registry::Tracing;
use super::{bpf, ftrace, static_call};

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
    /// What is wrong with the target, as part of a sentence.
    pub(in super::super) fn follow(&self, open: &Open) -> Result<Cause, &'static str> {
        let inside = u32::try_from(open.target).ok().filter(|_| self.is_inside(open.target));
        if let Some(target) = inside {
            return ftrace::within(self, open.at, open.opcode, target);
        }
        let virt = self.state.virt_of(open.target);
        if let Some(ops) = self.tracer_at(open.target) {
            return ftrace::trampoline(self, ops, open);
        }
        if let Some(program) = self.programs.at(virt) {
            return bpf::trampoline(self, program, virt);
        }
        if self.expected.is_static_call(open.at) {
            return static_call::function(self, virt);
        }
        Err(match open.opcode {
            CALL => "a call to an unregistered target",
            JMP => "a jump to an unregistered target",
            _ => "a branch to an unregistered target",
        })
    }
}
