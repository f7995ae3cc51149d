//! Follows a branch out of the text, by the kernel's own lists.

use super::super::page::Open;
use super::cause::{Cause, NoCause};
use super::registry::Tracing;
use super::{bpf, dispatcher, ftrace, static_call};

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
    /// Why it has none.
    pub(in super::super) fn follow(&self, open: &Open) -> Result<Cause, NoCause> {
        let inside = u32::try_from(open.target).ok().filter(|_| self.is_inside(open.target));
        if let Some(target) = inside {
            // Tracers that started before the kernel counted calls.
            let function = self.counting.and_then(|counting| counting.function(target));
            return ftrace::within(self, open, function.unwrap_or(target));
        }
        let virt = self.state.virt_of(open.target);
        if let Some(ops) = self.tracer_at(open.target) {
            return ftrace::trampoline(self, ops, open);
        }
        if let Some(program) = self.programs.at(virt) {
            let dispatched = dispatcher::programs(self, program, open, virt);
            return dispatched.unwrap_or_else(|| Ok(bpf::trampoline(self, program, virt)?));
        }
        let function = self.expected.is_static_call(open.at).then_some(virt);
        function
            .and_then(|virt| static_call::function(self, open.at, virt))
            .ok_or_else(|| self.missing(open, virt))
    }
}
