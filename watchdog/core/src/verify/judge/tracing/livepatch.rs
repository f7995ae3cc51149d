//! Livepatches: finds the function that replaces a traced one (kernel/livepatch/patch.c, 5.10 to
//! 7.2).

use super::super::Mechanism;
use super::cause::{Cause, NoCause};
use super::fits::{Fit, only};
use super::ops::{LIVEPATCH_HANDLER, Ops};
use super::registry::Tracing;
use crate::verify::reference::{Livepatch, Unfit};

/// Offset of `klp_func.old_func`, the patched function.
const OLD_FUNC: u32 = 24;
/// The layouts of kernels without type information. `struct kobject` comes before `stack_node`, and
/// has 64 bytes, or 152 with `DEBUG_KOBJECT_RELEASE`.
const LAYOUTS: [Livepatch; 2] = [
    Livepatch { func_stack: 16, fops: 32, stack_node: 112, new_func: 8 },
    Livepatch { func_stack: 16, fops: 32, stack_node: 200, new_func: 8 },
];
const UNFIT: [&str; 2] = [
    "no type information for `struct klp_func`, and no known layout fits the patch",
    "no type information for `struct klp_func`, and several known layouts fit the patch",
];

/// The cause of a livepatch at the function entry at image offset `at`: the replacement function.
///
/// # Errors
/// When the replacement is not a function of the kernel or of a module.
pub(super) fn cause(tracing: &Tracing<'_>, ops: &Ops, at: u32) -> Result<Cause, NoCause> {
    let replacement = match tracing.layouts.layouts.livepatch {
        Some(layout) => Replacement::of(tracing, ops, &layout),
        None => fitting(tracing, ops, at).map_err(NoCause::NotJudged)?,
    };
    let name = match replacement.map(|it| it.new_func) {
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

/// The replacement by the only known layout in which it replaces the function with the entry at
/// image offset `at`.
///
/// # Errors
/// Why there is none.
fn fitting(tracing: &Tracing<'_>, ops: &Ops, at: u32) -> Result<Option<Replacement>, &'static str> {
    let replacements = LAYOUTS.iter().filter_map(|layout| Replacement::of(tracing, ops, layout));
    let replaces = |it: &Replacement| it.replaces(tracing, at) == Some(true);
    let [none, several] = UNFIT;
    match only(replacements.filter(replaces)) {
        Fit::One(replacement) => Ok(Some(replacement)),
        Fit::Unfit(Unfit::Several) => Err(several),
        Fit::Empty | Fit::Unfit(Unfit::None) => Err(none),
    }
}

/// The function on top of a stack of replacements (`struct klp_func`).
struct Replacement {
    /// The virtual address of the structure.
    at: u64,
    /// The virtual address of the function.
    new_func: u64,
}

impl Replacement {
    /// Reads it. `ops` is part of the patched function's `struct klp_ops`.
    fn of(tracing: &Tracing<'_>, ops: &Ops, layout: &Livepatch) -> Option<Self> {
        let stack = field(ops.at.checked_sub(layout.fops.into())?, layout.func_stack)?;
        let top = tracing.state.word_at(stack).filter(|top| *top != stack)?;
        let at = top.checked_sub(layout.stack_node.into())?;
        let new_func = tracing.state.word_at(field(at, layout.new_func)?)?;
        Some(Self { at, new_func })
    }

    /// Whether it replaces the function with the entry at an image offset.
    fn replaces(&self, tracing: &Tracing<'_>, entry: u32) -> Option<bool> {
        let old = tracing.state.offset_of(tracing.state.word_at(field(self.at, OLD_FUNC)?)?)?;
        let (_, distance) = tracing.expected.reference.symbols.lookup(entry)?;
        Some(entry.checked_sub(distance)? == old)
    }
}

fn field(base: u64, offset: u32) -> Option<u64> {
    base.checked_add(offset.into())
}

#[cfg(test)]
mod tests {
    use std::cell::OnceCell;

    use super::super::super::{Expected, State};
    use super::super::{ListLayouts, Probes};
    use super::*;
    use crate::verify::made_up::{FUNCTION, OWN, Suspect, reference};

    /// The structures of a patch: `klp_ops`, and `klp_func` with room before it.
    const OPS: u64 = OWN.0;
    const FUNC: u64 = OWN.0 + 0x1000;
    const NEW: u64 = OWN.0 + 0x2000;

    /// The replacement of the second function, or why there is none. `stack_node` is where
    /// `klp_func` has it, and each of `old` is an address of the structure and the image offset of
    /// the function that it replaces.
    fn found(stack_node: u64, old: &[(u64, u32)]) -> Result<Option<u64>, &'static str> {
        let suspect = Suspect::new();
        let (ops, top) = (OPS + 32, FUNC + stack_node);
        suspect.own(OPS + 16, &[top, top]);
        for (func, function) in old {
            suspect.own(func + 8, &[NEW]);
            let function = suspect.kernel.text.virt.0 + u64::from(*function);
            suspect.own(func + u64::from(OLD_FUNC), &[function]);
        }
        let expected = Expected::of(reference(), 0);
        let state = State::of(&suspect.machine, &suspect.kernel);
        let layouts = ListLayouts::look(&expected, &state);
        let probes = Probes::look(&expected, &state, &layouts);
        let tracing = Tracing::look(&expected, &state, &probes, &layouts);
        let callee = OnceCell::new();
        let ops = Ops { at: ops, func: 0, trampoline: 0, size: 0, callee };
        let found = fitting(&tracing, &ops, FUNCTION + 4)?;
        Ok(found.map(|it| it.new_func))
    }

    /// Check that the replacement is found in both layouts by the function that it replaces. Check
    /// that it is not found if it replaces another function, or if both layouts fit.
    #[test]
    fn both_layouts() {
        for stack_node in [112, 200] {
            assert_eq!(found(stack_node, &[(FUNC, FUNCTION)]), Ok(Some(NEW)));
            assert_eq!(found(stack_node, &[(FUNC, 2 * FUNCTION)]), Err(UNFIT[0]));
        }
        let other = FUNC + 200 - 112;
        assert_eq!(found(200, &[(FUNC, FUNCTION), (other, FUNCTION)]), Err(UNFIT[1]));
        assert_eq!(found(200, &[(FUNC, 0), (other, FUNCTION)]), Ok(Some(NEW)));
    }
}
