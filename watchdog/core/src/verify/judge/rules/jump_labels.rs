//! Jump labels: a NOP, or a jump to exactly the recorded target, depending on the static key
//! (`__jump_label_patch()`, arch/x86/kernel/jump_label.c; `jump_label_type()`,
//! kernel/jump_label.c).

use super::super::branch::{self, JMP, JMP8};
use super::super::nops::{NOP2, NOP5};
use super::context::{Rules, SiteState};

pub(super) fn judge(rules: &mut Rules<'_>, n: u32, live: &[u8], to: u32) -> SiteState {
    let Some(label) = rules.expected.reference.tables.jump_labels.get(n as usize).copied() else {
        return SiteState::Unexpected("an entry that does not exist");
    };
    let jumps = if live == NOP2 || live == NOP5 {
        false
    } else {
        let opcode = if live.len() == 2 { JMP8 } else { JMP };
        if !branch::is(live, to, opcode, label.target) {
            return SiteState::Unexpected("neither a NOP nor a jump to the recorded target");
        }
        true
    };
    // `struct static_key` begins with its number of users. A negative number means that the key is
    // being switched on.
    let Some(count) = rules.state.image(label.key).map(i32::from_le_bytes) else {
        return SiteState::Unexpected("its static key cannot be read");
    };
    if jumps == ((count != 0) != label.inverted) {
        SiteState::Expected
    } else {
        SiteState::Unexpected("contradicts the state of its static key")
    }
}
