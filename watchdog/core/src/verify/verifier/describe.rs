//! Descriptions of the places that a sweep judged.

use super::Verifier;
use crate::locate::Kernel;
use crate::verify::Difference;
use crate::verify::difference::Judgement;
use crate::verify::disassembly::Disassembler;

impl Verifier {
    /// Describes the places that a tracer or a probe changed.
    pub fn instrumented<'a>(&'a self, kernel: &'a Kernel) -> impl Iterator<Item = Difference> + 'a {
        let mut names = self.disassembler(kernel);
        self.opinion.instrumented.iter().filter_map(move |&(at, length, cause)| {
            let (cause, _) = self.opinion.causes.get(cause)?;
            let difference = self.difference(&mut names, kernel, at, length)?;
            Some(Difference {
                judgement: Judgement::Instrumented,
                mechanism: Some(cause.mechanism),
                note: cause.name.clone(),
                ..difference
            })
        })
    }

    /// Describes the places that closed tables explain.
    pub fn patched<'a>(&'a self, kernel: &'a Kernel) -> impl Iterator<Item = Difference> + 'a {
        let mut names = self.disassembler(kernel);
        self.judge.patched().filter_map(move |(at, length, mechanism)| {
            let difference = self.difference(&mut names, kernel, at, length)?;
            Some(Difference {
                judgement: Judgement::Patched,
                mechanism: Some(mechanism),
                note: "as its table and the kernel's state allow".to_owned(),
                ..difference
            })
        })
    }

    /// Describes the places that are not judged.
    pub fn not_judged<'a>(&'a self, kernel: &'a Kernel) -> impl Iterator<Item = Difference> + 'a {
        let mut names = self.disassembler(kernel);
        let places = self.opinion.not_judged_places.iter();
        places.filter_map(move |&(at, length, mechanism, why)| {
            let difference = self.difference(&mut names, kernel, at, length)?;
            Some(Difference {
                judgement: Judgement::NotJudged,
                mechanism: Some(mechanism),
                note: why.to_owned(),
                ..difference
            })
        })
    }

    pub(super) fn disassembler(&self, kernel: &Kernel) -> Disassembler {
        Disassembler::new(&self.judge.expected().reference, kernel.text.virt)
    }

    /// Describes a place, with the expected bytes and the bytes found.
    pub(super) fn difference(
        &self,
        disassembler: &mut Disassembler,
        kernel: &Kernel,
        at: u32,
        length: u32,
    ) -> Option<Difference> {
        let place = at as usize..at.checked_add(length)? as usize;
        let symbols = &self.judge.expected().reference.symbols;
        let (text, end) = (self.judge.expected().text(), at.checked_add(length)?);
        let begin = disassembler.boundary(symbols, text, at);
        Some(Difference {
            phys: kernel.text.phys.checked_add(at.into())?,
            virt: kernel.text.virt.checked_add(at.into())?,
            symbol: symbols.lookup(at).map(|(name, offset)| format!("{name}+{offset:#x}")),
            mechanism: None,
            judgement: Judgement::Unexplained,
            note: String::new(),
            expected: text.get(place.clone())?.to_vec(),
            found: self.judge.raw().get(place)?.to_vec(),
            expected_asm: disassembler.show(text, begin, end),
            found_asm: disassembler.show(self.judge.raw(), begin, end),
        })
    }
}
