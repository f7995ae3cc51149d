//! A program of the eBPF object, and the place in the kernel that it attaches to.

use watchdog_core::btf::{Btf, BtfError};

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// To an LSM hook: a function of the name `bpf_lsm_…` (kernel/bpf/bpf_lsm.c).
    Lsm,
    /// To a function's entry.
    Entry,
    /// To a function's exit.
    Exit,
    /// To the settings in `/proc/sys`, for every process.
    Sysctl,
    /// To nothing: the program makes a list. The kernel runs it for each of its objects of this
    /// kind.
    Listing(&'static str),
    /// To opens of devices, for every process. It replaces LSM programs on kernels where these
    /// never fire.
    Device,
}

/// When a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Attached first: these programs save values. The deciding programs deny a call if its values
    /// were not saved.
    Save,
    /// Attached second: these programs decide.
    Decide,
    /// Attached last: these programs deny the calls by which the guard loads itself.
    Late,
}

/// A function, with the number of parameters that the program relies on.
pub(super) type Function = (&'static str, usize);

/// A program of the eBPF object. A path's file defines it, with the functions it needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Program {
    /// The program's name in the object.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Functions, the innermost first. The program attaches to the first one that the kernel has.
    pub(super) functions: &'static [Function],
    pub(super) stage: Stage,
    /// Whether kernels may lack all of its functions, because other programs of its paths suffice.
    pub(super) is_optional: bool,
    /// Whether the guard needs it even if the policies of all its paths are `off`.
    pub(super) is_always: bool,
    /// Whether no other program detects what this one misses.
    pub(super) is_last: bool,
    /// A function that makes this program unnecessary. All calls that the program would see also go
    /// through that function, or it is another form of the program's own function, with another
    /// program. If the kernel has it, this program is left out.
    pub(super) within: Option<Function>,
    /// A structure, and the size in bytes that the program relies on.
    pub(super) structure: Option<(&'static str, u64)>,
}

impl Program {
    /// A program that decides. The kernel must have one of its functions.
    pub(super) const fn new(
        name: &'static str,
        kind: Kind,
        functions: &'static [Function],
    ) -> Self {
        Self {
            name,
            kind,
            functions,
            stage: Stage::Decide,
            is_optional: false,
            is_always: false,
            is_last: false,
            within: None,
            structure: None,
        }
    }

    pub(super) const fn saves(self) -> Self {
        Self { stage: Stage::Save, ..self }
    }

    pub(super) const fn late(self) -> Self {
        Self { stage: Stage::Late, ..self }
    }

    pub(super) const fn optional(self) -> Self {
        Self { is_optional: true, ..self }
    }

    pub(super) const fn always(self) -> Self {
        Self { is_always: true, ..self }
    }

    pub(super) const fn last(self) -> Self {
        Self { is_last: true, ..self }
    }

    pub(super) const fn within(self, function: &'static str, parameters: usize) -> Self {
        Self { within: Some((function, parameters)), ..self }
    }

    pub(super) const fn relies_on(self, structure: &'static str, size: u64) -> Self {
        Self { structure: Some((structure, size)), ..self }
    }

    /// Whether the program belongs on this kernel. LSM programs belong where they fire, and the
    /// device program where they do not. A program whose work another one does is left out.
    pub(super) fn fits(&self, btf: &Btf, has_lsm: bool) -> bool {
        let is_within = |(function, count)| btf.check_function(function, count).is_ok();
        match self.kind {
            Kind::Lsm => has_lsm && !self.within.is_some_and(is_within),
            Kind::Device => !has_lsm,
            Kind::Entry | Kind::Exit | Kind::Sysctl | Kind::Listing(_) => {
                !self.within.is_some_and(is_within)
            }
        }
    }

    /// The function of this kernel that the program attaches to; empty for a program that needs
    /// none.
    ///
    /// # Errors
    /// A sentence why no function fits.
    pub(super) fn function(&self, btf: &Btf) -> Result<&'static str, String> {
        let mut refusals = Vec::new();
        for (function, parameters) in self.functions {
            match btf.check_function(function, *parameters) {
                Ok(()) => return Ok(function),
                Err(refusal) => refusals.push(refusal.to_string()),
            }
        }
        if self.functions.is_empty() { Ok("") } else { Err(refusals.join(", ")) }
    }

    /// Checks the size of the structure that the program relies on.
    pub(super) fn check_structure(&self, btf: &Btf) -> Result<(), BtfError> {
        self.structure.map_or(Ok(()), |(name, size)| btf.check_size(name, size))
    }
}
