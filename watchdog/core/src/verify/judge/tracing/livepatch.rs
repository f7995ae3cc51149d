//! Livepatches: finds the function that replaces a traced one (kernel/livepatch/patch.c, 5.10 to
//! 7.2).

use super::super::Mechanism;
use super::cause::{Cause, NoCause};
use super::ops::{LIVEPATCH_HANDLER, Ops};
use super::registry::Tracing;

/// The cause of a livepatch at the function entry at image offset `at`: the replacement function.
///
/// # Errors
/// When the replacement is not a function of the kernel or of a module.
pub(super) fn cause(tracing: &Tracing<'_>, ops: &Ops, at: u32) -> Result<Cause, NoCause> {
    let name = match replacement(tracing, ops) {
        // A patch that reverts another one leads to the function itself.
        None | Some(0) => LIVEPATCH_HANDLER.to_owned(),
        Some(function) => {
            let nameless = || tracing.nameless("a livepatch whose replacement is not a function");
            tracing.name(function).ok_or_else(nameless)?
        }
    };
    let name = format!("{name} for {}", tracing.place(at));
    Ok(Cause::new(Mechanism::Livepatch, name))
}

/// The virtual address of the function on top of the stack of replacements. `ops` is part of the
/// patched function's `struct klp_ops`.
fn replacement(tracing: &Tracing<'_>, ops: &Ops) -> Option<u64> {
    let layout = tracing.layouts.livepatch?;
    let field = |base: u64, offset: u32| base.checked_add(offset.into());
    let stack = field(ops.at.checked_sub(layout.fops.into())?, layout.func_stack)?;
    let top = tracing.state.word_at(stack).filter(|top| *top != stack)?;
    let function = top.checked_sub(layout.stack_node.into())?;
    tracing.state.word_at(field(function, layout.new_func)?)
}
