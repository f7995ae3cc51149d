//! Indirect branches (`patch_retpoline()`, arch/x86/kernel/alternative.c), linked as a branch to
//! the thunk of a register. The kernel keeps that branch, or replaces it with one of three forms:
//! the bare branch, the branch behind a fence, or a branch to the thunk that counts calls.

use super::super::agreement::Class;
use super::super::branch::{CALL, INT3, JMP, decode};
use super::super::nops;
use super::super::site::Site;
use super::super::sites::retpoline_branch;
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
    let linked = rules.expected.linked(site.at, site.length.into());
    let target = retpoline_branch(linked, site.at);
    if target.is_some() && retpoline_branch(live, to) == target && linked.first() == live.first() {
        return rules.vote(Class::Retpoline, THUNK);
    }
    let bare = linked.strip_prefix(&[0x2e]).unwrap_or(linked);
    let Some(&opcode) = bare.first() else { return SiteState::Unexpected(WRONG) };
    // A conditional jump becomes the opposite jump over the branch.
    let (opcode, live) = match (bare, live) {
        (&[0x0f, condition, ..], [jump, distance, rest @ ..])
            if *jump == (condition ^ 0xf1) && usize::from(*distance) == rest.len() =>
        {
            (JMP, rest)
        }
        _ => (opcode, live),
    };
    if let Some(branch) = decode(live, to).filter(|branch| branch.opcode == opcode) {
        let counts = u32::try_from(branch.target)
            .ok()
            .and_then(|target| rules.expected.reference.symbols.at(target))
            .is_some_and(|name| is_counting_thunk(name, linked, site, rules));
        let filled = live.get(branch.length..).is_some_and(nops::fill);
        return if counts && filled {
            rules.vote(Class::Retpoline, COUNTED)
        } else {
            SiteState::Unexpected(WRONG)
        };
    }
    let (choice, live) = match live.strip_prefix(&LFENCE) {
        Some(live) => (FENCED, live),
        None => (DIRECT, live),
    };
    if is_indirect(live, opcode, register) {
        rules.vote(Class::Retpoline, choice)
    } else {
        SiteState::Unexpected(WRONG)
    }
}

/// Whether `code` is the branch through a register, followed only by filling (`emit_indirect()`).
fn is_indirect(code: &[u8], opcode: u8, register: u8) -> bool {
    let code = match (register >= 8, code) {
        (true, [0x41, rest @ ..]) => rest,
        (false, _) => code,
        _ => return false,
    };
    let modrm = if opcode == CALL { 0xd0 } else { 0xe0 } | (register & 7);
    match code {
        [0xff, found, rest @ ..] if *found == modrm => {
            let rest = match rest {
                [INT3, rest @ ..] if opcode == JMP => rest,
                _ => rest,
            };
            nops::fill(rest)
        }
        _ => false,
    }
}

/// Whether a thunk counts calls for the register of the linked thunk
/// (arch/x86/lib/retpoline.S: `__x86_indirect_call_thunk_…`, `__x86_indirect_jump_thunk_…`).
fn is_counting_thunk(name: &str, linked: &[u8], site: &Site, rules: &Rules<'_>) -> bool {
    let thunk = retpoline_branch(linked, site.at)
        .and_then(|(_, target)| rules.expected.reference.symbols.at(target));
    let register = thunk.and_then(|thunk| thunk.strip_prefix("__x86_indirect_thunk_"));
    let counted = name
        .strip_prefix("__x86_indirect_call_thunk_")
        .or_else(|| name.strip_prefix("__x86_indirect_jump_thunk_"));
    register.is_some() && register == counted
}
