//! Read-only data that decides where the kernel branches: system-call tables, interrupt gates, and
//! everything in `__start_rodata`…`__end_rodata` that a rule can explain.
//!
//! Outside `__ro_after_init`, data must be as linked. Inside it, the kernel sorts tables at boot:
//! the same entries, in another order. It also writes function pointers there, and much data that
//! no rule can judge from outside. That data is counted, and never called clean.

mod gates;
mod options;
mod places;
mod tables;
#[cfg(test)]
mod tests;
mod window;
mod wrong;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

use self::gates::GateWatch;
use self::places::Places;
use self::window::Window;
use self::wrong::Wrong;
use super::difference::{Difference, Judgement, stretches};
use super::reference::{Piece, Reference};
use super::round::Round;
use crate::locate::Kernel;
use crate::memory::{Memory, PAGE_SIZE};
use crate::text::printable;

/// Every sweep reads one page in this many again. The pages of the system-call tables are read in
/// every sweep.
const SHARE: usize = 8;
const PAGE: usize = PAGE_SIZE as usize;
/// Tables of system calls (arch/x86/entry/syscall_{64,x32,32}.c).
const SYSTEM_CALLS: [&str; 3] = ["sys_call_table", "x32_sys_call_table", "ia32_sys_call_table"];
/// Longest symbol name that is shown.
const MAX_NAME: usize = 128;

/// The judgement of a kernel's read-only data. All fields but `gates` are numbers of bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RodataOpinion {
    /// Total size.
    pub size: usize,
    /// Bytes that are as linked.
    pub equal: usize,
    /// Bytes of tables that the kernel sorts at boot.
    pub sorted: usize,
    /// Bytes of function pointers that were written at boot.
    pub functions: usize,
    /// Bytes that were written at boot and that no rule judges.
    pub unjudged: usize,
    /// Number of interrupt gates that lead to an expected handler.
    pub gates: usize,
}

/// A kernel's read-only data, as the sweeps read and judged it.
#[derive(Clone, Debug)]
pub(super) struct RodataWatch {
    reference: Arc<Reference>,
    /// The data as linked, moved to where KASLR put the kernel.
    linked: Vec<u8>,
    /// Image offset of the first byte.
    offset: u32,
    /// `__ro_after_init`, by image offset.
    variable: Range<u32>,
    /// Tables that the kernel sorts at boot.
    tables: Vec<tables::Sorted>,
    /// Bytes that alternatives may change, by image offset.
    patched: BTreeSet<u32>,
    /// Pages of the system-call tables.
    always: BTreeSet<usize>,
    /// Pages that are not as linked, with their bytes. `None` before the first sweep.
    different: Option<BTreeMap<usize, Vec<u8>>>,
    round: Round,
    wrong: Vec<Wrong>,
    opinion: RodataOpinion,
    gates: GateWatch,
}

impl RodataWatch {
    /// Takes the read-only data of a kernel that KASLR moved by `distance` bytes.
    pub(super) fn new(reference: Arc<Reference>, mut rodata: Piece, distance: u64) -> Self {
        let offset = rodata.offset;
        let linked = rodata.take_moved(distance);
        let symbols = &reference.symbols;
        let range = |start: &str, end: &str| Some(symbols.address(start)?..symbols.address(end)?);
        // Without symbols, `__ro_after_init` may be anywhere in its section.
        let variable = range("__start_ro_after_init", "__end_ro_after_init");
        let variable = variable.or_else(|| symbols.section(".rodata")).unwrap_or_default();
        let page = |at: u32| at.checked_sub(offset).map(|at| at as usize / PAGE);
        let calls = SYSTEM_CALLS.iter().filter_map(|name| page(symbols.address(name)?));
        // A table of about 450 pointers reaches into the next page.
        let always = calls.flat_map(|page| [page, page.saturating_add(1)]).collect();
        let entries = &reference.tables.alternatives;
        let patched = entries
            .iter()
            .flat_map(|entry| entry.at..entry.at.saturating_add(entry.length.into()))
            .filter(|at| *at >= offset)
            .collect();
        Self {
            tables: tables::sorted(symbols),
            different: None,
            round: Round::default(),
            wrong: Vec::new(),
            opinion: RodataOpinion::default(),
            gates: GateWatch::default(),
            linked,
            offset,
            variable,
            patched,
            always,
            reference,
        }
    }

    /// Reads and judges the pages that are due. The first sweep reads all pages.
    pub(super) fn sweep(&mut self, memory: &dyn Memory, kernel: &Kernel) {
        let pages = self.linked.len().div_ceil(PAGE);
        let due: BTreeSet<usize> = if self.different.is_none() {
            (0..pages).collect()
        } else {
            self.round.next(pages, SHARE).into_iter().chain(self.always.clone()).collect()
        };
        let mut changed = self.different.is_none();
        let different = self.different.get_or_insert_default();
        let mut buffer = [0; PAGE];
        for page in due {
            let start = page.saturating_mul(PAGE);
            let Some(linked) = self.linked.get(start..) else { continue };
            let length = linked.len().min(PAGE);
            let (Some(linked), Some(copy)) = (linked.get(..length), buffer.get_mut(..length))
            else {
                continue;
            };
            let at =
                kernel.text.phys.checked_add(u64::from(self.offset).saturating_add(start as u64));
            // A page that cannot be read is judged as zeros.
            if at.is_none_or(|at| memory.read(at, copy).is_err()) {
                copy.fill(0);
            }
            let first = self.offset.saturating_add(u32::try_from(start).unwrap_or(u32::MAX));
            let within = |at: u32| (at.saturating_sub(first) as usize).min(length);
            let Range { start, end } = self.reference.left_out;
            if let Some(left_out) = copy.get_mut(within(start)..within(end)) {
                left_out.fill(0);
            }
            let now = (linked != copy).then_some(&*copy);
            if different.get(&page).map(Vec::as_slice) != now {
                changed = true;
                match now {
                    Some(bytes) => different.insert(page, bytes.to_vec()),
                    None => different.remove(&page),
                };
            }
        }
        if changed {
            self.judge(kernel);
        }
        self.gates.sweep(&self.reference, memory, kernel);
        self.opinion.gates = self.gates.right();
    }

    fn judge(&mut self, kernel: &Kernel) {
        let bytes = self.live();
        let (linked, live) = (self.linked(), Window::new(self.offset, &bytes));
        let mut opinion = RodataOpinion { size: self.linked.len(), ..RodataOpinion::default() };
        let mut wrong = Places::default();
        let mut done = self.offset;
        for table in &self.tables {
            self.between(live, done..table.range.start, kernel, &mut opinion, &mut wrong);
            done = done.max(table.range.end);
            let entries = live.part(&table.range);
            opinion.sorted = opinion.sorted.saturating_add(entries.bytes().len());
            for place in table.judge(linked.part(&table.range), entries) {
                wrong.push(place, "an entry that the kernel's table was not linked with");
            }
        }
        self.between(live, done..linked.end(), kernel, &mut opinion, &mut wrong);
        let differing = |(place, why)| self.differing(live, place, why);
        self.wrong = wrong.into_iter().map(differing).collect();
        log::debug!("{} wrong places in read-only data; bytes: {opinion:?}", self.wrong.len());
        self.opinion = opinion;
    }

    /// All of the data as linked.
    fn linked(&self) -> Window<'_> {
        Window::new(self.offset, &self.linked)
    }

    /// All of the data as it was last read, without the cuts of [`options`].
    fn live(&self) -> Vec<u8> {
        let mut live = self.linked.clone();
        for (page, bytes) in self.different.iter().flatten() {
            let place = live.get_mut(page.saturating_mul(PAGE)..);
            if let Some(place) = place.and_then(|place| place.get_mut(..bytes.len())) {
                place.copy_from_slice(bytes);
            }
        }
        options::restore(&self.linked, &mut live);
        live
    }

    fn differing(&self, live: Window<'_>, place: Range<u32>, why: &'static str) -> Wrong {
        Wrong {
            at: place.start,
            expected: self.linked().part(&place).bytes().to_vec(),
            found: live.part(&place).bytes().to_vec(),
            why,
        }
    }

    /// Judges the data between the sorted tables.
    fn between(
        &self,
        live: Window<'_>,
        range: Range<u32>,
        kernel: &Kernel,
        opinion: &mut RodataOpinion,
        wrong: &mut Places,
    ) {
        let (linked, found) = (self.linked().part(&range).bytes(), live.part(&range).bytes());
        opinion.equal = opinion.equal.saturating_add(found.len());
        if linked == found {
            return;
        }
        for (start, length) in stretches(linked, found) {
            let first = range.start.saturating_add(u32::try_from(start).unwrap_or(u32::MAX));
            let end = first.saturating_add(u32::try_from(length).unwrap_or(u32::MAX));
            let is_variable = |at: u32| self.variable.contains(&at) || self.patched.contains(&at);
            // Every byte that differs must be one that may change. A stretch can reach from one
            // such byte across others to the next.
            let bytes = (first..).zip(linked.iter().zip(found).skip(start).take(length));
            if bytes.into_iter().all(|(at, (linked, found))| linked == found || is_variable(at)) {
                self.variable_stretch(live, first..end, kernel, opinion);
                continue;
            }
            opinion.equal = opinion.equal.saturating_sub(length);
            let why = "read-only data that must not change after linking";
            wrong.push(first..end, why);
        }
    }

    /// Counts the words of a stretch that were written at boot: function pointers, and all others.
    fn variable_stretch(
        &self,
        live: Window<'_>,
        range: Range<u32>,
        kernel: &Kernel,
        opinion: &mut RodataOpinion,
    ) {
        for word in (range.start & !7..range.end).step_by(8) {
            let place = word..word.saturating_add(8);
            let found = live.part(&place).bytes();
            if self.linked().part(&place).bytes() == found {
                continue;
            }
            opinion.equal = opinion.equal.saturating_sub(found.len());
            let function = found.first_chunk().and_then(|word| {
                let offset = u64::from_le_bytes(*word).checked_sub(kernel.text.virt.0)?;
                u32::try_from(offset).ok().filter(|_| offset < kernel.text.size)
            });
            let count = if function.is_some_and(|it| self.reference.symbols.is_function(it)) {
                &mut opinion.functions
            } else {
                &mut opinion.unjudged
            };
            *count = count.saturating_add(found.len());
        }
    }

    /// The judgement of the last sweep.
    pub(super) fn opinion(&self) -> &RodataOpinion {
        &self.opinion
    }

    /// Number of places that are not as expected.
    pub(super) fn wrong(&self) -> usize {
        self.wrong.len().saturating_add(self.gates.wrong().len())
    }

    /// Describes the places that are not as expected.
    pub(super) fn differences(&self, kernel: &Kernel) -> impl Iterator<Item = Difference> {
        self.wrong.iter().chain(self.gates.wrong()).filter_map(|wrong| {
            let name = self.reference.symbols.lookup(wrong.at);
            let name = name.map(|(name, offset)| {
                format!("{}+{offset:#x}", printable(name.as_bytes(), MAX_NAME))
            });
            Some(Difference {
                phys: kernel.text.phys.checked_add(wrong.at.into())?,
                virt: kernel.text.virt.checked_add(wrong.at.into())?,
                symbol: name,
                mechanism: None,
                judgement: Judgement::Unexplained,
                note: wrong.why.to_owned(),
                expected: wrong.expected.clone(),
                found: wrong.found.clone(),
                expected_asm: self.names(&wrong.expected, kernel),
                found_asm: self.names(&wrong.found, kernel),
            })
        })
    }

    /// The function that `data` points to, if `data` is one pointer.
    fn names(&self, data: &[u8], kernel: &Kernel) -> String {
        let name = || {
            let virt = u64::from_le_bytes(data.try_into().ok()?);
            let offset = u32::try_from(virt.checked_sub(kernel.text.virt.0)?).ok()?;
            let (name, distance) = self.reference.symbols.lookup(offset)?;
            Some(format!("-> {}+{distance:#x}", printable(name.as_bytes(), MAX_NAME)))
        };
        name().unwrap_or_default()
    }
}
