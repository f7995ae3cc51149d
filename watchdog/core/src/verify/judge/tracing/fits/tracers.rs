//! `struct ftrace_ops` (include/linux/ftrace.h, 5.10 to 7.2).
//!
//! `func`, `next`, `flags`, `private` and `saved_func` come first. Then there is `local_hash`, the
//! pointer `func_hash`, `old_hash` of the same size, `trampoline` and `trampoline_size`. A hash has
//! two pointers and a mutex, whose size depends on the version and on options (`SMP`, `PREEMPT_RT`,
//! `DEBUG_MUTEXES`, `LOCKDEP`). `ftrace_list_end` shows it: the kernel is linked with its
//! `func_hash` leading to its own `local_hash` (`INIT_OPS_HASH`, kernel/trace/ftrace.c).

use std::collections::BTreeSet;

use super::super::super::State;
use super::super::lists::{End, Record, follow};
use super::fit::{EXAMINED, Fit, is_code, only};
use crate::verify::reference::{FtraceOps, Unfit};

const FUNC: u32 = 0;
const NEXT: u32 = 8;
const FLAGS: u32 = 16;
const LOCAL_HASH: u32 = 40;
/// Bytes of a hash: two pointers, and a mutex of 8 to 240 bytes.
const HASH_BYTES: std::ops::RangeInclusive<u32> = 24..=256;
/// Bytes that hold every field that is read.
const MAX_BYTES: usize = 640;
/// `FTRACE_OPS_FL_ALLOC_TRAMP`: the trampoline was made for this tracer.
const ALLOCATED: u64 = 1 << 11;
/// Largest trampoline.
const MAX_TRAMPOLINE: u64 = 8192;

/// A candidate.
struct Candidate {
    layout: FtraceOps,
    /// Offset of `func_hash`.
    func_hash: u32,
}

/// The layout that fits the tracers on the list at virtual address `list`, up to the one at `end`.
/// `global` is the address of `global_ops`, whose hash other tracers use.
pub(super) fn tracers(
    state: &State<'_>,
    list: u64,
    end: u64,
    global: Option<u64>,
) -> Fit<FtraceOps> {
    let mut listed = Vec::new();
    let ended = follow(state, list, end, EXAMINED, |ops| {
        listed.push(ops);
        ops.checked_add(NEXT.into())
    });
    match ended {
        End::Whole if listed.is_empty() => return Fit::Empty,
        End::Whole | End::Cut => {}
        End::Broken | End::Unreadable => return Fit::Unfit(Unfit::None),
    }
    let hash = |ops: u64| ops.checked_add(LOCAL_HASH.into());
    let known = listed.iter().copied().chain(global);
    let hashes: BTreeSet<u64> = known.filter_map(hash).collect();
    let last = Record::prefix(state, end, MAX_BYTES);
    let fits = |candidate: &Candidate| {
        last.word(candidate.func_hash) == hash(end)
            && listed.iter().all(|ops| is_tracer(state, *ops, candidate, &hashes))
    };
    let candidates = HASH_BYTES.step_by(8).filter_map(candidate);
    only(candidates.filter(fits).map(|candidate| candidate.layout))
}

/// The layout with hashes of so many bytes.
fn candidate(hash: u32) -> Option<Candidate> {
    let func_hash = LOCAL_HASH.checked_add(hash)?;
    let trampoline = func_hash.checked_add(8)?.checked_add(hash)?;
    let trampoline_size = trampoline.checked_add(8)?;
    let layout = FtraceOps { func: FUNC, next: NEXT, trampoline, trampoline_size };
    Some(Candidate { layout, func_hash })
}

/// Whether an entry of the list is a tracer in this layout. It must call a function, its hash must
/// be that of a tracer, and its trampoline must be code of its own if its flags say that it is.
fn is_tracer(state: &State<'_>, ops: u64, candidate: &Candidate, hashes: &BTreeSet<u64>) -> bool {
    let record = Record::prefix(state, ops, MAX_BYTES);
    let FtraceOps { trampoline, trampoline_size, .. } = candidate.layout;
    let fields = [FUNC, FLAGS, candidate.func_hash, trampoline, trampoline_size];
    let [Some(func), Some(flags), Some(hash), Some(trampoline), Some(size)] =
        fields.map(|field| record.word(field))
    else {
        return false;
    };
    let is_inside = state.offset_of(trampoline).is_some();
    let is_trampoline = if flags & ALLOCATED == 0 {
        // A static one is part of the kernel (`FTRACE_GRAPH_TRAMP_ADDR`, up to 5.15).
        trampoline == 0 || is_inside
    } else {
        !is_inside && (1..=MAX_TRAMPOLINE).contains(&size) && is_code(state, trampoline)
    };
    is_trampoline && hashes.contains(&hash) && is_code(state, func)
}
