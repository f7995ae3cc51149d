//! The mechanisms by which a kernel rewrites its text.

use std::fmt;

use serde::Serialize;

/// A mechanism by which a kernel rewrites its own text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// Code chosen by the processor's features.
    Alternative,
    /// A paravirt call made direct.
    Paravirt,
    /// A lock prefix that is removed or restored.
    SmpLock,
    /// An indirect branch.
    Retpoline,
    /// A return.
    Return,
    /// A direct call, redirected to count calls.
    CallSite,
    /// A landing pad of a function whose address is never taken.
    IbtSeal,
    /// A check of control-flow integrity, at an indirect call or a function.
    Cfi,
    /// A static key's branch.
    JumpLabel,
    /// A static call.
    StaticCall,
    /// A function entry, as ftrace leaves it without tracers.
    Fentry,
    /// A constant written at boot.
    RuntimeConstant,
    /// A tracer.
    Ftrace,
    /// A probe.
    Kprobe,
    /// A BPF program.
    Bpf,
    /// A livepatch of a function.
    Livepatch,
    /// A patch table that no rule knows.
    UnknownTable,
}

impl Mechanism {
    /// The name in the output, such as `jump-label`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alternative => "alternative",
            Self::Paravirt => "paravirt",
            Self::SmpLock => "smp-lock",
            Self::Retpoline => "retpoline",
            Self::Return => "return",
            Self::CallSite => "call-site",
            Self::IbtSeal => "ibt-seal",
            Self::Cfi => "cfi",
            Self::JumpLabel => "jump-label",
            Self::StaticCall => "static-call",
            Self::Fentry => "fentry",
            Self::RuntimeConstant => "runtime-constant",
            Self::Ftrace => "ftrace",
            Self::Kprobe => "kprobe",
            Self::Bpf => "bpf",
            Self::Livepatch => "livepatch",
            Self::UnknownTable => "unknown-table",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
