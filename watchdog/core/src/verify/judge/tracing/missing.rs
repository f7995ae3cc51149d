//! What to say of a branch to a target that is on none of the kernel's lists.
//!
//! A list that was read to its end shows that nothing was registered. A list that is longer than
//! what is read, or that leads to memory that the source does not have, shows nothing: the branch
//! is not judged. No kernel makes a broken list.

#[cfg(test)]
mod tests;

use super::super::branch::{CALL, JMP};
use super::super::page::Open;
use super::cause::NoCause;
use super::lists::End;
use super::registry::Tracing;
use crate::verify::reference::List;

/// The sentences about a list that does not end: broken, cut, unreadable.
type Sentences = [&'static str; 3];

const TRACERS: Sentences = [
    "a branch to an unregistered target, and the list of tracers is broken",
    "the list of tracers is longer than what is read",
    "the list of tracers leads to memory that cannot be read",
];
const PROGRAMS: Sentences = [
    "a branch to an unregistered target, and the list of BPF programs is broken",
    "the list of BPF programs is longer than what is read",
    "the list of BPF programs leads to memory that cannot be read",
];
const MODULES: Sentences = [
    "a branch to an unregistered target, and the list of modules is broken",
    "the list of modules is longer than what is read",
    "the list of modules leads to memory that cannot be read",
];

impl Tracing<'_> {
    /// Why a branch has no cause if its target, at virtual address `virt`, is on no list.
    pub(super) fn missing(&self, open: &Open, virt: u64) -> NoCause {
        let is_static_call = self.expected.is_static_call(open.at);
        let why = match open.opcode {
            _ if is_static_call => {
                "a call to something that is not a function of the kernel or a module"
            }
            CALL => "a call to an unregistered target",
            JMP => "a jump to an unregistered target",
            _ => "a branch to an unregistered target",
        };
        let other = if is_static_call {
            (self.modules.end.get(), MODULES)
        } else {
            // Tracers and programs are never part of a module's own memory.
            if self.modules.contain(virt) {
                return NoCause::Unexplained(why);
            }
            (self.ops_end, TRACERS)
        };
        // Whatever the lists say, code that the kernel registers cannot be written.
        let code = self.state.at(virt, 1);
        if code.is_some_and(|code| code.writable || !code.executable) {
            return NoCause::Unexplained(why);
        }
        let lists = [(self.programs.end, PROGRAMS), other];
        let ended = |how: End| lists.iter().find(|(end, _)| *end == how).map(|(_, said)| said);
        // A list that contradicts itself counts, whatever another one leaves open.
        if let Some([broken, ..]) = ended(End::Broken) {
            return NoCause::Unexplained(broken);
        }
        if let Some(why) = self.needed(open, is_static_call) {
            return NoCause::NotJudged(why);
        }
        if let Some([_, cut, _]) = ended(End::Cut) {
            return NoCause::NotJudged(cut);
        }
        match ended(End::Unreadable) {
            Some([.., unreadable]) => NoCause::NotJudged(unreadable),
            None => NoCause::Unexplained(why),
        }
    }

    /// Why a list cannot be read at all that may have the target of a branch. The kernel calls
    /// tracers' trampolines, and static calls lead to modules. It calls BPF trampolines, or jumps
    /// to them.
    fn needed(&self, open: &Open, is_static_call: bool) -> Option<&'static str> {
        let other = match open.opcode {
            _ if is_static_call => Some(List::Modules),
            CALL => Some(List::Tracers),
            _ => None,
        };
        let unreadable = |list| self.unreadable(list);
        other.and_then(unreadable).or_else(|| unreadable(List::Programs))
    }
}
