//! Entries of the kernel's tables. An entry names a place that the kernel rewrites, and what
//! decides the new bytes.

use serde::{Deserialize, Serialize};

/// Names of the registers that indirect branches use, by number.
pub(in crate::verify) const REGISTERS: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];

/// An entry of `.altinstructions` (`struct alt_instr`, arch/x86/include/asm/alternative.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alternative {
    /// The code that is replaced.
    pub at: u32,
    /// Bytes of that code, padding included.
    pub length: u8,
    /// The replacement.
    pub replacement: u32,
    /// Bytes of the replacement.
    pub replacement_length: u8,
    /// The processor feature (`X86_FEATURE_…`) that decides.
    pub feature: u16,
    /// Whether the code is replaced if the feature is missing.
    pub inverted: bool,
    /// Whether the replacement directly calls the target of the indirect call (since 6.8).
    pub direct_call: bool,
}

/// An entry of `.parainstructions` (up to 6.7): an indirect call through `pv_ops`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParavirtSite {
    /// The call.
    pub at: u32,
    /// Index of the pointer in `pv_ops`.
    pub slot: u8,
    /// Bytes of the site.
    pub length: u8,
}

/// An entry of `__jump_table` (`struct jump_entry`, include/linux/jump_label.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JumpLabel {
    /// The NOP or jump.
    pub at: u32,
    /// The target of the jump.
    pub target: u32,
    /// Its `struct static_key`.
    pub key: u32,
    /// Whether the site jumps while the key is off.
    pub inverted: bool,
}

/// An entry of `.static_call_sites` (`struct static_call_site`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticCall {
    /// The call or jump.
    pub at: u32,
    /// Its `struct static_call_key`.
    pub key: u32,
    /// Whether it is a tail call.
    pub tail: bool,
}

/// A `__SCT__…` trampoline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trampoline {
    /// Its first byte.
    pub at: u32,
    /// Its `struct static_call_key`.
    pub key: u32,
}

impl Trampoline {
    /// Stands for a key that the image does not tell.
    pub const UNKNOWN_KEY: u32 = u32::MAX;
}

/// A constant that is written into code at boot (include/asm/runtime-const.h, since 6.12).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeConstant {
    /// Name of the variable.
    pub name: String,
    /// Image offset of the variable, if it exists.
    pub variable: Option<u32>,
    /// The places of the immediates.
    pub sites: Vec<u32>,
    /// The type of the constant.
    pub kind: ConstantKind,
}

/// The type of a runtime constant, which is part of its section's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConstantKind {
    /// `runtime_ptr_…`: the whole variable.
    Pointer,
    /// `runtime_shift_…`: the low byte of the variable.
    Shift,
    /// `runtime_mask_…`: the low four bytes of the variable (since 7.3).
    Mask,
}

impl ConstantKind {
    /// The types, with the prefixes of their sections' names.
    pub(super) const PREFIXES: [(&str, Self); 3] = [
        ("runtime_ptr_", Self::Pointer),
        ("runtime_shift_", Self::Shift),
        ("runtime_mask_", Self::Mask),
    ];

    /// Bytes of the immediate.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Pointer => 8,
            Self::Shift => 1,
            Self::Mask => 4,
        }
    }
}

/// Image offsets of the kernel symbols that rules need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownSymbols {
    /// `pv_ops`.
    pub pv_ops: Option<u32>,
    /// `__fentry__`.
    pub fentry: Option<u32>,
    /// `x86_return_thunk`, the variable.
    pub return_thunk: Option<u32>,
    /// `__x86_return_thunk`, the thunk that returns are linked to.
    pub default_thunk: Option<u32>,
    /// `__static_call_return0`.
    pub return_zero: Option<u32>,
    /// `BUG_func`.
    pub bug: Option<u32>,
    /// `nop_func`, or `_paravirt_nop` up to 6.7.
    pub nop: Option<u32>,
    /// `__WARN_trap` (7.x).
    pub warning: Option<u32>,
    /// `__raw_callee_save___native_queued_spin_unlock`.
    pub unlock: Option<u32>,
}
