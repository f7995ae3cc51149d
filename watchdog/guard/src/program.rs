//! A program of the eBPF object, and what of the kernel it attaches to.

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
    /// To settings, for every process.
    Sysctl,
    /// To nothing. For a list, the kernel runs it for each of its objects of this kind.
    Listing(&'static str),
    /// To opens of devices, for every process. It stands in for LSM programs where none fires.
    Device,
}

/// When a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Before the programs that need what it saves: they deny what was not saved.
    Save,
    /// Then.
    Decide,
    /// When all others are: it denies the calls by which the guard loads itself.
    Late,
}

/// A function, with the number of parameters that the program relies on.
pub(super) type Function = (&'static str, usize);

/// A program of the eBPF object. A path's file defines it, with what it needs of the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Program {
    /// Its name in the object.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Functions, from the innermost out: it attaches to the first that the kernel has.
    pub(super) functions: &'static [Function],
    pub(super) stage: Stage,
    /// Whether kernels may lack all of its functions, because other programs of its paths suffice.
    pub(super) is_optional: bool,
    /// Whether the guard needs it even if policy does nothing about its paths.
    pub(super) is_always: bool,
    /// Whether no other program sees what it does not see.
    pub(super) is_last: bool,
    /// A function through which all that this program would see goes as well; or another form of
    /// its own function, for which there is another program. Where it exists, this one is left out.
    pub(super) within: Option<Function>,
    /// A structure whose size in bytes it relies on.
    pub(super) structure: Option<(&'static str, u64)>,
}

impl Program {
    /// A program that decides, and that the kernel must have a function for.
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

    /// Whether it belongs on this kernel: LSM programs where they fire, their stand-in where they
    /// do not, and no program whose work another one does.
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

    /// The function of this kernel that it attaches to, empty for a program that needs none.
    ///
    /// # Errors
    /// Why no function fits, in a sentence.
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

    /// Checks the structure that it relies on.
    pub(super) fn check_structure(&self, btf: &Btf) -> Result<(), BtfError> {
        self.structure.map_or(Ok(()), |(name, size)| btf.check_size(name, size))
    }
}
