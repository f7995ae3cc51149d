//! Runtime constants (include/asm/runtime-const.h, since 6.12): immediates of instructions, as
//! linked or written once at boot. All sites must agree, and must equal the variable.

use super::super::agreement::Class;
use super::context::{Rules, SiteState};

/// The possible values of `USER_PTR_MAX`, which is not the value of a variable up to 6.13. It is
/// the end of user addresses with 4 or 5 levels. If the processor masks addresses, there is no
/// limit (arch/x86/kernel/cpu/common.c).
const USER_PTR_MAX: [u64; 3] = [0x7fff_ffff_f000, 0x00ff_ffff_ffff_f000, 0x7fff_ffff_ffff_f000];

pub(super) fn judge(rules: &mut Rules<'_>, n: u32, live: &[u8]) -> SiteState {
    let Some(constant) = rules.expected.reference.tables.runtime_constants.get(n as usize) else {
        return SiteState::Unexpected("an entry that does not exist");
    };
    let (value, bits) = match *live {
        [shift] => (u64::from(shift), 0xff),
        [a, b, c, d] => (u64::from(u32::from_le_bytes([a, b, c, d])), 0xffff_ffff),
        _ => match live.first_chunk() {
            Some(pointer) => (u64::from_le_bytes(*pointer), u64::MAX),
            None => return SiteState::Unexpected("not a constant"),
        },
    };
    let is_right = if constant.name == "USER_PTR_MAX" {
        USER_PTR_MAX.contains(&value)
    } else {
        let Some(variable) = constant.variable.and_then(|at| rules.word(at)) else {
            return rules.vote(Class::Constant(n), value);
        };
        value == variable & bits
    };
    if is_right {
        rules.vote(Class::Constant(n), value)
    } else {
        SiteState::Unexpected("not the value of its variable")
    }
}
