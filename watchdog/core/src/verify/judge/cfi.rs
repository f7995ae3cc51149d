//! Control-flow integrity of indirect calls: what decides how a kernel rewrites its checks
//! (`__apply_fineibt()`, arch/x86/kernel/alternative.c, since 6.2; built with clang).

use super::State;
use crate::verify::reference::{ImageSymbols, Piece};

/// Values of `cfi_mode` (`enum cfi_mode`, arch/x86/include/asm/cfi.h).
const OFF: u32 = 1;
const KCFI: u32 = 2;
const FINE_IBT: u32 = 3;

/// Bytes before a function that hold its hash.
pub(super) const PREAMBLE: u32 = 16;
/// Bytes before an indirect call that check the hash of its target.
pub(super) const CALLER: u32 = 14;
pub(super) const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];

/// The forms of FineIBT, as the kernel's read-only data holds them.
#[derive(Clone, Debug)]
pub(super) struct Cfi {
    mode: u32,
    seed: u32,
    /// The code before a function.
    pub(super) preamble: [u8; PREAMBLE as usize],
    /// The code before an indirect call.
    pub(super) caller: [u8; CALLER as usize],
}

/// How a kernel checks indirect calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The checks are jumped over.
    Off,
    /// The caller compares hashes.
    Kcfi,
    /// The function compares hashes.
    FineIbt,
}

impl Cfi {
    /// Finds the variables and the forms; `None` for a kernel that does not rewrite its checks, or
    /// does not name them.
    pub(super) fn of(symbols: &ImageSymbols, rodata: &Piece) -> Option<Self> {
        let template = |name: &str| {
            let start = symbols.address(name)?.checked_sub(rodata.offset)? as usize;
            rodata.bytes.get(start..)
        };
        Some(Self {
            mode: symbols.address("cfi_mode")?,
            seed: symbols.address("cfi_seed")?,
            preamble: *template("fineibt_preamble_start")?.first_chunk()?,
            caller: *template("fineibt_caller_start")?.first_chunk()?,
        })
    }

    /// The mode that the kernel has chosen.
    pub(super) fn mode(&self, state: &State<'_>) -> Option<Mode> {
        match u32::from_le_bytes(state.image(self.mode)?) {
            OFF => Some(Mode::Off),
            KCFI => Some(Mode::Kcfi),
            FINE_IBT => Some(Mode::FineIbt),
            _ => None,
        }
    }

    /// The hash that the kernel makes of a linked one (`cfi_rehash()`).
    pub(super) fn rehash(&self, state: &State<'_>, hash: u32) -> Option<u32> {
        const POLYNOMIAL: u32 = 0x8020_0003;
        const STEPS: usize = 64;
        let mut hash = hash ^ u32::from_le_bytes(state.image(self.seed)?);
        for _ in 0..STEPS {
            if !is_landing_pad(hash) && !is_landing_pad(hash.wrapping_neg()) {
                return Some(hash);
            }
            hash = (hash >> 1) ^ if hash & 1 == 0 { 0 } else { POLYNOMIAL };
        }
        None
    }
}

/// Whether a word is a landing pad or a sealed one (`is_endbr()`).
fn is_landing_pad(word: u32) -> bool {
    const ENDBR: u32 = u32::from_le_bytes(ENDBR64);
    const WITHOUT_WIDTH: u32 = !0x0100_0000;
    const SEALED: u32 = u32::from_le_bytes([0x66, 0x0f, 0x1f, 0x00]);
    word == SEALED || word & WITHOUT_WIDTH == ENDBR & WITHOUT_WIDTH
}
