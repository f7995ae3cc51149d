//! The NOPs of kernels up to 5.12. Such a kernel chooses one of several sets of NOPs by the
//! processor (`ideal_nops`, arch/x86/kernel/alternative.c). One set is that of later kernels
//! (`p6_nops`), the other consists of prefixes (`k8_nops`, arch/x86/include/asm/nops.h).

use std::borrow::Cow;

use iced_x86::{Decoder, DecoderOptions};

use super::nops;
use crate::verify::reference::Reference;

/// The NOPs of `k8_nops` that later kernels do not write. The others of the set are made of these.
const PREFIXED: [&[u8]; 3] =
    [&[0x66, 0x66, 0x90], &[0x66, 0x66, 0x66, 0x90], &[0x66, 0x66, 0x66, 0x66, 0x90]];

/// The prefixed NOP of an ftrace site, a jump label and a static call (`K8_NOP5_ATOMIC`).
pub(super) const NOP5: &[u8] = PREFIXED[2];

/// Whether a kernel chooses its NOPs.
pub(super) fn are_used(reference: &Reference) -> bool {
    reference.symbols.address("arch_init_ideal_nops").is_some()
}

/// The code with the NOPs of later kernels in place of prefixed ones.
pub(super) fn as_later(code: &[u8]) -> Cow<'_, [u8]> {
    let mut later = Cow::Borrowed(code);
    let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
    while decoder.can_decode() {
        let start = decoder.position();
        let end = start.saturating_add(decoder.decode().len());
        let Some(found) = code.get(start..end).filter(|found| PREFIXED.contains(found)) else {
            continue;
        };
        let place = later.to_mut().get_mut(start..end);
        if let Some((place, nop)) = place.zip(nops::of(found.len())) {
            place.copy_from_slice(nop);
        }
    }
    later
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that only whole prefixed NOPs are replaced, and not the same bytes in an operand.
    #[test]
    fn only_nops() {
        let nop = [0x66, 0x66, 0x66, 0x66, 0x90];
        assert_eq!(&*as_later(&nop), nops::NOP5);
        // movb $0,(%rdi); nop; movabs $0x9066669066669090,%rax
        let code = [&[0xc6, 0x07, 0x00][..], &nop[1..], &[0x48, 0xb8, 0x90, 0x90], &[0x66; 2]];
        let code = [code.concat(), vec![0x90, 0x66, 0x66, 0x90]].concat();
        let later = as_later(&code);
        assert_eq!((&later[..3], &later[3..7]), (&code[..3], nops::of(4).unwrap()));
        assert_eq!(later[7..], code[7..]);
        assert!(matches!(as_later(&[0x90, 0x66, 0x90, 0xc3]), Cow::Borrowed(_)));
    }
}
