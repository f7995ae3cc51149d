//! `struct kprobe` and `struct optimized_kprobe` (include/linux/kprobes.h,
//! arch/x86/include/asm/kprobes.h, 5.10 to 7.2).
//!
//! Up to 5.13, `fault_handler` comes before `opcode`. Since 5.13, `struct arch_specific_insn` also
//! has what emulates the instruction. A function that comes with each shows which one it is, in
//! kernels with backports as well. `optimized_kprobe` is there with `OPTPROBES`.

use super::super::super::{Expected, State};
use super::super::lists::Record;
use super::fit::{EXAMINED, Fit, is_code};
use crate::verify::reference::{Kprobe, Unfit};

/// Buckets of `kprobe_table` (`KPROBE_TABLE_SIZE`).
const BUCKETS: usize = 64;
const LIST: u32 = 16;
const ADDR: u32 = 40;
const PRE_HANDLER: u32 = 64;
/// Offset of `opcode`, with and without `fault_handler`.
const OPCODES: [u32; 2] = [88, 80];
/// Bytes of `struct arch_specific_insn`, with and without emulation.
const INSN_BYTES: [u32; 2] = [32, 16];

/// The layout of this kernel's probes.
fn layout(expected: &Expected) -> Option<Kprobe> {
    let has = |symbol: &str| expected.reference.symbols.address(symbol).is_some();
    let of = |[with, without]: [u32; 2], symbol| if has(symbol) { with } else { without };
    let opcode = of(OPCODES, "aggr_fault_handler");
    let insn = of(INSN_BYTES, "kprobe_emulate_call");
    // Behind `opcode` and the instruction, there are `flags`, and in `struct optimized_kprobe` a
    // link, the copied bytes, and the detour.
    let copied = opcode.checked_add(8)?.checked_add(insn)?.checked_add(8)?.checked_add(16)?;
    let optimized = (copied, copied.checked_add(8)?);
    Some(Kprobe {
        hlist: 0,
        list: LIST,
        addr: ADDR,
        pre_handler: PRE_HANDLER,
        opcode,
        optimized: has("optprobe_template_entry").then_some(optimized),
    })
}

/// The buckets of the kernel's table that hold probes: the virtual address of each, and that of its
/// first probe.
pub(in super::super) fn buckets(expected: &Expected, state: &State<'_>) -> Vec<(u64, u64)> {
    let table = expected.reference.symbols.address("kprobe_table");
    let heads = table.and_then(|table| state.image_part(table, BUCKETS * 8));
    let (heads, _) = heads.as_deref().unwrap_or_default().as_chunks();
    let buckets = heads.iter().enumerate().filter_map(|(n, first)| {
        let bucket = i64::from(table?).checked_add(i64::try_from(n.checked_mul(8)?).ok()?)?;
        let first = u64::from_le_bytes(*first);
        (first != 0).then(|| (state.virt_of(bucket), first))
    });
    buckets.collect()
}

/// The layout that fits the probes in the buckets of a table: the virtual address of each bucket,
/// and that of its first probe.
pub(super) fn probes(
    expected: &Expected,
    state: &State<'_>,
    buckets: &[(u64, u64)],
) -> Fit<Kprobe> {
    if buckets.is_empty() {
        return Fit::Empty;
    }
    let mut left = EXAMINED;
    let fits = |layout: &Kprobe| {
        buckets.iter().all(|(bucket, first)| {
            let (mut before, mut next) = (*bucket, *first);
            while next != 0 && left > 0 {
                left = left.saturating_sub(1);
                match after(state, layout, before, next) {
                    Some(link) => (before, next) = (next, link),
                    None => return false,
                }
            }
            true
        })
    };
    layout(expected).filter(fits).map_or(Fit::Unfit(Unfit::None), Fit::One)
}

/// The link to the next probe of a bucket, if the one at `at` is a probe. `before` is the link that
/// leads to it.
fn after(state: &State<'_>, layout: &Kprobe, before: u64, at: u64) -> Option<u64> {
    let record = Record::read(state, at, layout.opcode.checked_add(8)?)?;
    let back = record.word(layout.hlist.checked_add(8)?)?;
    // A list of one's own, or one of probes that share the place.
    let list = at.checked_add(layout.list.into())?;
    let (first, last) = (record.word(layout.list)?, record.word(layout.list.checked_add(8)?)?);
    let is_list = state.word_at(first.checked_add(8)?)? == list && state.word_at(last)? == list;
    let handler = record.word(layout.pre_handler)?;
    let is_probe = back == before
        && is_list
        && is_code(state, record.word(layout.addr)?)
        && (handler == 0 || is_code(state, handler))
        && is_copied(state, layout, &record)?;
    is_probe.then(|| record.word(layout.hlist)).flatten()
}

/// Whether the first byte of the copied instruction is the opcode. The address of the copy comes
/// right behind the opcode. A probe at a function's entry has neither.
fn is_copied(state: &State<'_>, layout: &Kprobe, record: &Record) -> Option<bool> {
    let copy = record.word(layout.opcode.checked_add(8)?)?;
    // The opcode is one byte, and the others are a hole.
    let opcode = record.word(layout.opcode)?;
    if copy == 0 {
        return Some(opcode == 0);
    }
    let code = state.at(copy, 1)?;
    Some(code.executable && code.bytes.first() == opcode.to_le_bytes().first())
}
