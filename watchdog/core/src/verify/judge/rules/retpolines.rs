//! Indirect branches (`patch_retpoline()`, arch/x86/kernel/alternative.c), linked as a branch to
//! the thunk of a register. The kernel keeps that branch, or replaces it with one of four forms:
//! the bare branch, the branch behind a fence, a branch to the thunk that counts calls, or a branch
//! to a thunk in the upper half of a cache line.

use super::super::agreement::Class;
use super::super::branch::{CALL, CS, INT3, JMP, Place, decode};
use super::super::nops;
use super::super::site::Site;
use super::super::sites::retpoline_branch;
use super::super::thunks::{Thunk, UPPER_HALF, Use};
use super::cfi;
use super::context::{Rules, SiteState};

const LFENCE: [u8; 3] = [0x0f, 0xae, 0xe8];
const WRONG: &str = "not a branch through its register";

/// How a branch is made, as counted by [`Class::Retpoline`].
const THUNK: u64 = 0;
const DIRECT: u64 = 1;
const FENCED: u64 = 2;
const COUNTED: u64 = 3;

pub(super) fn judge(
    rules: &mut Rules<'_>,
    register: u8,
    site: &Site,
    live: &[u8],
    to: u32,
) -> SiteState {
    let state = branch(rules, register, site, live, to);
    cfi::judge_call(rules, site, state)
}

fn branch(rules: &mut Rules<'_>, register: u8, site: &Site, live: &[u8], to: u32) -> SiteState {
    let linked = rules.expected.linked(site.at, site.length.into());
    let target = retpoline_branch(linked, site.at);
    if target.is_some() && retpoline_branch(live, to) == target && linked.first() == live.first() {
        return rules.vote(Class::Retpoline, THUNK);
    }
    let bare = linked.strip_prefix(&[CS]).unwrap_or(linked);
    let Some(&opcode) = bare.first() else { return SiteState::Unexpected(WRONG) };
    if let Some(target) = same_branch(linked, live, to) {
        return thunk(rules, register, site, opcode, target);
    }
    // A conditional jump becomes the opposite jump over the branch.
    let (opcode, live, skipped) = match (bare, live) {
        (&[0x0f, condition, ..], [jump, distance, rest @ ..])
            if *jump == (condition ^ 0xf1) && usize::from(*distance) == rest.len() =>
        {
            (JMP, rest, 2)
        }
        _ => (opcode, live, 0),
    };
    if let Some(live) = live.strip_prefix(&LFENCE) {
        return if is_indirect(live, opcode, register) {
            rules.vote(Class::Retpoline, FENCED)
        } else {
            SiteState::Unexpected(WRONG)
        };
    }
    if !is_indirect(live, opcode, register) {
        return SiteState::Unexpected(WRONG);
    }
    if needs_aligned(rules, site, skipped, register) {
        return both(rules, false);
    }
    rules.vote(Class::Retpoline, DIRECT)
}

/// The target of `live` if it is the linked branch with another target (`__emit_trampoline()`).
fn same_branch(linked: &[u8], live: &[u8], to: u32) -> Option<Place> {
    let (linked, live, to) = match (linked, live) {
        ([CS, linked @ ..], [CS, live @ ..]) => (linked, live, to.checked_add(1)?),
        _ => (linked, live, to),
    };
    let (was, is) = (decode(linked, to)?, decode(live, to)?);
    let same = was.opcode == is.opcode && was.length == is.length && is.length == live.len();
    same.then_some(is.target)
}

/// Judges a branch to a thunk other than the linked one.
fn thunk(rules: &mut Rules<'_>, register: u8, site: &Site, opcode: u8, target: Place) -> SiteState {
    let thunks = &rules.expected.thunks;
    let of_text = |usage| {
        let at = u32::try_from(target).ok();
        at.and_then(|at| thunks.register(usage, at)) == Some(register)
    };
    let counted = if opcode == CALL { Use::CountedCall } else { Use::CountedJump };
    if of_text(counted) {
        return rules.vote(Class::Retpoline, COUNTED);
    }
    // The kernel takes the thunk of its text only if it cannot allocate one.
    let allocated = Thunk { virt: rules.state.virt_of(target), register };
    let is_aligned = of_text(Use::Aligned)
        || (rules.state.offset_of(allocated.virt).is_none() && allocated.stands(rules.state));
    let skipped = if matches!(opcode, CALL | JMP) { 0 } else { 2 };
    if !is_aligned {
        return SiteState::Unexpected(WRONG);
    }
    if !needs_aligned(rules, site, skipped, register) {
        return SiteState::Unexpected("a branch to a thunk that its place does not need");
    }
    if rules.state.offset_of(allocated.virt).is_none() {
        rules.thunks.push(allocated);
    }
    both(rules, true)
}

/// Whether the last byte of the bare branch would be in the lower half of a cache line
/// (`cpu_wants_indirect_its_thunk_at()`). In replacement code, the kernel decides before it copies
/// the code. `skipped` bytes come before the branch.
fn needs_aligned(rules: &Rules<'_>, site: &Site, skipped: u64, register: u8) -> bool {
    let branch = rules.state.virt_of(site.at.into()).wrapping_add(skipped);
    branch.wrapping_add(if register < 8 { 1 } else { 2 }) & UPPER_HALF == 0
}

/// Votes for a bare branch at a place in the lower half of a cache line, or for its thunk.
fn both(rules: &mut Rules<'_>, is_aligned: bool) -> SiteState {
    match rules.vote(Class::Retpoline, DIRECT) {
        SiteState::Expected => rules.vote(Class::AlignedBranch, is_aligned.into()),
        dissent => dissent,
    }
}

/// Whether `code` is the branch through a register, filled up (`emit_indirect()`). A call is filled
/// up with NOPs behind, or since 6.16 with up to three prefixes in front. A jump is followed by
/// `int3` and then NOPs, or since 6.16 only by `int3`.
fn is_indirect(code: &[u8], opcode: u8, register: u8) -> bool {
    let prefixes = code.iter().take_while(|byte| **byte == CS).count();
    let code = code.get(prefixes..).unwrap_or_default();
    let code = match (register >= 8, code) {
        (true, [0x41, rest @ ..]) => rest,
        (false, _) => code,
        _ => return false,
    };
    let modrm = if opcode == CALL { 0xd0 } else { 0xe0 } | (register & 7);
    let rest = match code {
        [0xff, found, rest @ ..] if *found == modrm => rest,
        _ => return false,
    };
    match (opcode, prefixes) {
        (CALL, 0) => nops::fill(rest),
        (CALL, 1..=3) => rest.is_empty(),
        (_, 0) => {
            let behind = rest.strip_prefix(&[INT3]).unwrap_or(rest);
            nops::fill(behind) || behind.iter().all(|byte| *byte == INT3)
        }
        _ => false,
    }
}
