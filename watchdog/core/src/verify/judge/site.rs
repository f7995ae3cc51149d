//! A place that a kernel may rewrite.

use super::Mechanism;

/// A place that has a rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site {
    /// Image offset of its first byte.
    pub(super) at: u32,
    pub(super) length: u8,
    pub(super) kind: Kind,
    /// Whether another site covers this one. It is then judged as part of that site.
    pub(super) nested: bool,
}

/// The rule, and the entry of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The first entry for this place, and the number of entries.
    Alternative(u32, u8),
    Paravirt(u32),
    SmpLock,
    /// The register's number.
    Retpoline(u8),
    Return,
    Call,
    /// The padding before a function, in which its calls may be counted.
    Padding,
    IbtSeal,
    /// The hash of a function, before it.
    CfiPreamble,
    /// The landing pad of a function that has a hash.
    CfiEntry,
    /// The check of a hash, before an indirect call.
    CfiCaller,
    /// The bytes before a sealed function without a hash.
    CfiSeal,
    JumpLabel(u32),
    StaticCall(u32),
    Trampoline(u32),
    Fentry,
    /// The call of the tracer in the tracers' common entry.
    FtraceCall,
    /// The number of the constant.
    Constant(u32),
    /// A site of a patch table that no rule knows.
    Unknown,
}

impl Kind {
    pub(super) const fn mechanism(self) -> Mechanism {
        match self {
            Self::Alternative(..) => Mechanism::Alternative,
            Self::Paravirt(_) => Mechanism::Paravirt,
            Self::SmpLock => Mechanism::SmpLock,
            Self::Retpoline(_) => Mechanism::Retpoline,
            Self::Return => Mechanism::Return,
            Self::Call | Self::Padding => Mechanism::CallSite,
            Self::IbtSeal => Mechanism::IbtSeal,
            Self::CfiPreamble | Self::CfiEntry | Self::CfiCaller | Self::CfiSeal => Mechanism::Cfi,
            Self::JumpLabel(_) => Mechanism::JumpLabel,
            Self::StaticCall(_) | Self::Trampoline(_) => Mechanism::StaticCall,
            Self::Fentry => Mechanism::Fentry,
            Self::FtraceCall => Mechanism::Ftrace,
            Self::Constant(_) => Mechanism::RuntimeConstant,
            Self::Unknown => Mechanism::UnknownTable,
        }
    }
}
