//! Landing pads of functions whose address is never taken (`apply_seal_endbr()`,
//! `apply_ibt_endbr()` in older kernels; on by default since 6.2). A pad is `endbr64`, or the NOP
//! that seals it (`gen_endbr_poison()`; a different NOP since 6.15).

use super::super::agreement::Class;
use super::super::cfi::ENDBR64;
use super::context::{Rules, SiteState};

pub(super) const SEALED: [[u8; 4]; 2] = [[0x66, 0x0f, 0x1f, 0x00], [0x0f, 0x1f, 0x40, 0xd6]];

pub(super) fn judge(rules: &mut Rules<'_>, live: &[u8]) -> SiteState {
    let sealed = SEALED.iter().position(|form| live == form);
    match sealed {
        Some(which) => rules.vote(Class::IbtSeal, 1_u64.saturating_add(which as u64)),
        None if live == ENDBR64 => rules.vote(Class::IbtSeal, 0),
        None => SiteState::Unexpected("neither a landing pad nor a sealed one"),
    }
}
