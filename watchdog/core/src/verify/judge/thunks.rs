//! The kernel's own thunks for indirect branches, by their image offset
//! (arch/x86/lib/retpoline.S).

use std::collections::HashMap;

use super::State;
use crate::verify::reference::{ImageSymbols, REGISTERS};

/// Bytes of a cache line.
const CACHE_LINE: u64 = 64;
/// The bit of an address that is set in the upper half of a cache line.
pub(super) const UPPER_HALF: u64 = CACHE_LINE / 2;

/// The use of a thunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Use {
    /// The thunk that branches are linked to.
    Linked,
    /// A thunk that counts a call.
    CountedCall,
    /// The same for a jump.
    CountedJump,
    /// A thunk in the upper half of a cache line (indirect target selection, since 6.1).
    Aligned,
}

impl Use {
    const PREFIXES: [(&'static str, Self); 4] = [
        ("__x86_indirect_thunk_", Self::Linked),
        ("__x86_indirect_call_thunk_", Self::CountedCall),
        ("__x86_indirect_jump_thunk_", Self::CountedJump),
        ("__x86_indirect_its_thunk_", Self::Aligned),
    ];
}

/// The thunks of the text.
#[derive(Clone, Debug, Default)]
pub(super) struct Thunks {
    uses: HashMap<(Use, u32), u8>,
    /// `its_return_thunk`: only returns in the lower half of a cache line lead there.
    pub(super) aligned_return: Option<u32>,
}

impl Thunks {
    pub(super) fn of(symbols: &ImageSymbols) -> Self {
        let thunk = |name: &str, at: u32| {
            Use::PREFIXES.into_iter().find_map(|(prefix, usage)| {
                let register = name.strip_prefix(prefix)?;
                let number = REGISTERS.iter().position(|have| *have == register)?;
                Some(((usage, at), u8::try_from(number).ok()?))
            })
        };
        Self {
            uses: symbols.iter().filter_map(|(name, _, at)| thunk(name, at)).collect(),
            aligned_return: symbols.address("its_return_thunk"),
        }
    }

    /// The register of the thunk at an image offset.
    pub(super) fn register(&self, usage: Use, at: u32) -> Option<u8> {
        self.uses.get(&(usage, at)).copied()
    }
}

/// The image offsets of the symbols that exist.
pub(super) fn known(symbols: &ImageSymbols, names: &[&str]) -> Vec<u32> {
    names.iter().filter_map(|name| symbols.address(name)).collect()
}

/// A thunk that the kernel allocated outside its image, for one branch (`its_allocate_thunk()`,
/// arch/x86/kernel/alternative.c).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thunk {
    /// Its virtual address.
    pub(super) virt: u64,
    /// The register that it jumps to.
    pub(super) register: u8,
}

impl Thunk {
    /// Whether the kernel's memory holds the thunk: a jump through the register in the upper half
    /// of a cache line, in memory that is executable and read-only.
    pub(super) fn stands(&self, state: &State<'_>) -> bool {
        let code = [0x41, 0xff, 0xe0 | (self.register & 7), 0xcc];
        let code = if self.register < 8 { code.get(1..).unwrap_or_default() } else { &code };
        let place = self.virt & (CACHE_LINE - 1);
        place >= UPPER_HALF
            && place.saturating_add(code.len() as u64) <= CACHE_LINE
            && state.is_code(self.virt, code)
    }
}
