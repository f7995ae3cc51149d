//! Probes at instructions of the text: a breakpoint, or a jump if the probe is optimised. The
//! kernel's own table lists them (kernel/kprobes.c; arch/x86/kernel/kprobes/{core,opt}.c, 5.10 to
//! 7.2).

use std::collections::BTreeMap;
use std::ops::Range;

use super::super::branch::{INT3, JMP, decode};
use super::super::{Expected, State, Wrong};
use super::fits::{ListLayouts, buckets};
use super::lists::{MAX_ENTRIES, MAX_NAMED, circular};
use crate::verify::reference::{Kprobe, List};

/// Bytes of the jump of an optimised probe.
const JUMP_BYTES: u32 = 5;
/// Handlers of one place that are read: one more than are named.
const MAX_HANDLERS: usize = MAX_NAMED + 1;

/// A registered probe in the kernel's text.
#[derive(Clone, Debug)]
pub(in super::super) struct Probe {
    /// The first byte that the probe replaced.
    opcode: u8,
    /// If the probe is optimised: the next bytes that its jump replaced, and the target of the
    /// jump.
    optimized: Option<([u8; 4], u64)>,
    /// Virtual addresses of the functions that the probe calls.
    pub(super) handlers: Vec<u64>,
}

/// All probes by image offset.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Probes {
    by_place: BTreeMap<u32, Probe>,
    /// Why probes that may be registered cannot be read.
    pub(super) unreadable: Option<&'static str>,
}

impl Probes {
    /// Reads the probes that a kernel has registered in its text.
    pub(in super::super) fn look(
        expected: &Expected,
        state: &State<'_>,
        layouts: &ListLayouts,
    ) -> Self {
        let mut probes = Self::default();
        let mut left = MAX_ENTRIES;
        if let Some(layout) = layouts.layouts.kprobe {
            for (_, first) in buckets(expected, state) {
                probes.bucket(&layout, state, first, &mut left);
            }
        }
        // Without a table, there may be probes. With one, it shows whether there are any.
        let unfit = layouts.unfit(List::Probes);
        probes.unreadable = expected.reference.unnamed(List::Probes).or(unfit);
        probes
    }

    /// Reads the probes of one bucket, a `struct hlist_head` that leads to `first`. `left` bounds
    /// the entries that are followed in all buckets together.
    fn bucket(
        &mut self,
        layout: &Kprobe,
        state: &State<'_>,
        first: u64,
        left: &mut usize,
    ) -> Option<()> {
        let mut link = Some(first);
        while let Some(at) = link {
            *left = left.checked_sub(1)?;
            let probe = at.checked_sub(layout.hlist.into())?;
            let place = |offset: u32| probe.checked_add(offset.into());
            let field = |offset: u32| state.word_at(place(offset)?);
            if let Some(offset) = state.offset_of(field(layout.addr)?) {
                let [opcode] = *state.at(place(layout.opcode)?, 1)?.bytes.first_chunk()?;
                let optimized = layout.optimized.and_then(|(copied, insn)| {
                    let copied = *state.at(place(copied)?, 4)?.bytes.first_chunk()?;
                    Some((copied, field(insn).filter(|insn| *insn != 0)?))
                });
                let own = field(layout.pre_handler).unwrap_or_default();
                // A shared probe calls the probes on its list.
                let (others, _) = circular(state, place(layout.list)?, MAX_HANDLERS);
                let others = others.into_iter().filter_map(|link| {
                    let other = link.checked_sub(layout.list.into())?;
                    state.word_at(other.checked_add(layout.pre_handler.into())?)
                });
                let mut handlers: Vec<u64> = others.filter(|handler| *handler != 0).collect();
                if handlers.is_empty() {
                    handlers.push(own);
                }
                // Of several entries for one place, the first is in use.
                self.by_place.entry(offset).or_insert(Probe { opcode, optimized, handlers });
            }
            // An hlist ends with NULL. The bound above ends a list that loops.
            link = state.word_at(at).filter(|next| *next != 0);
        }
        Some(())
    }

    /// The probe registered at an image offset.
    pub(super) fn at(&self, at: u32) -> Option<&Probe> {
        self.by_place.get(&at)
    }

    /// Why a place is not judged that may hold a probe: a breakpoint at the start of an
    /// instruction, and nothing else, or a jump to a copy of the kernel's own detour.
    pub(in super::super) fn may_be(
        &self,
        expected: &Expected,
        state: &State<'_>,
        raw: &[u8],
        wrong: &Wrong,
    ) -> Option<&'static str> {
        let why = self.unreadable?;
        let place = wrong.at as usize..wrong.at.saturating_add(wrong.length) as usize;
        let (linked, found) = (expected.linked(wrong.at, place.len()), raw.get(place));
        let is_form = || match (linked, found?) {
            ([first, linked @ ..], [INT3, found @ ..]) => Some(*first != INT3 && linked == found),
            (_, [JMP, ..]) if wrong.length <= JUMP_BYTES => {
                let to = decode(raw.get(wrong.at as usize..)?, wrong.at)?.target;
                Some(is_detour(expected, state, state.virt_of(to)))
            }
            _ => None,
        };
        let is_probe = is_form() == Some(true) && expected.is_instruction(wrong.at);
        is_probe.then_some(why)
    }

    /// The probes in a stretch of the image that are armed in a copy of the text. Each comes with
    /// the bytes that it replaced. Once these are restored, the text can be judged.
    pub(in super::super) fn armed(
        &self,
        expected: &Expected,
        state: &State<'_>,
        raw: &[u8],
        within: Range<u32>,
    ) -> Vec<Armed> {
        let armed = |(&at, probe): (&u32, &Probe)| {
            let code = raw.get(at as usize..)?;
            let replaced = match *code.first()? {
                INT3 if expected.linked(at, 1) != [INT3] => vec![probe.opcode],
                JMP => {
                    let goes = state.virt_of(decode(code, at)?.target);
                    let (copied, to) = probe.optimized.filter(|(_, to)| goes == *to)?;
                    if !is_detour(expected, state, to) {
                        return None;
                    }
                    [&[probe.opcode], copied.as_slice()].concat()
                }
                _ => return None,
            };
            Some(Armed { at, replaced, probe: probe.clone() })
        };
        self.by_place.range(within).filter_map(armed).collect()
    }
}

/// A probe that is armed in the text.
#[derive(Clone, Debug)]
pub(in super::super) struct Armed {
    /// Image offset.
    pub(in super::super) at: u32,
    /// The bytes that the probe replaced.
    pub(in super::super) replaced: Vec<u8>,
    pub(in super::super) probe: Probe,
}

/// Whether an optimised probe's jump leads to a copy of the kernel's template
/// (`optprobe_template_entry`). The copy is compared up to the first place that the kernel fills
/// in.
fn is_detour(expected: &Expected, state: &State<'_>, virt: u64) -> bool {
    // The last one is a NOP of kernels up to 5.12.
    const CLAC: [[u8; 3]; 3] = [[0x0f, 0x01, 0xca], [0x0f, 0x1f, 0x00], [0x66, 0x66, 0x90]];
    let symbol = |name: &str| expected.reference.symbols.address(name);
    let compare = || {
        let first = symbol("optprobe_template_entry")?;
        let mut template = expected.detour().to_vec();
        let found = state.at(virt, template.len()).filter(|_| !template.is_empty())?;
        // The template itself contains an alternative, for processors that have SMAP.
        let clac = usize::try_from(symbol("optprobe_template_clac")?.checked_sub(first)?).ok()?;
        let place = clac..clac.checked_add(3)?;
        let filled = found.bytes.get(place.clone())?;
        if CLAC.iter().any(|form| form == filled) {
            template.get_mut(place)?.copy_from_slice(filled);
        }
        Some(found.bytes == template && found.executable && !found.writable)
    };
    compare().unwrap_or(false)
}
