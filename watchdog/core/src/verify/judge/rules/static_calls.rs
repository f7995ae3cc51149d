//! Static calls: every site and the trampoline lead to the function that the key names
//! (`__static_call_transform()`, arch/x86/kernel/static_call.c).

use super::super::Expected;
use super::super::branch::{self, JMP, decode};
use super::super::nops::NOP5;
use super::super::site::Site;
use super::call_sites::{counted, is_call};
use super::context::{MAY_BE_FUNCTION, Rules, SiteState};
use crate::verify::reference::Trampoline;

/// `xor %eax,%eax`, which `__static_call_return0` consists of.
const ZERO: [u8; 2] = [0x31, 0xc0];
/// `movb $0,(%rdi)`, which the native `queued_spin_unlock()` consists of.
const CLEAR: [u8; 3] = [0xc6, 0x07, 0x00];

/// `xor %eax,%eax` of five bytes replaces a call to `__static_call_return0`: up to 5.19, and since.
const RETURN_ZERO: [[u8; 5]; 2] = [[0x66, 0x66, 0x48, 0x31, 0xc0], [0x2e, 0x2e, 0x2e, 0x31, 0xc0]];

/// `ud1 (%edx),%rdi` replaces a call to `__WARN_trap` (7.x).
const WARNING: [[u8; 5]; 1] = [[0x67, 0x48, 0x0f, 0xb9, 0x3a]];

/// `ds ds movb $0,(%rdi)` replaces a call to the native `queued_spin_unlock()` (since 7.3).
const UNLOCK: [[u8; 5]; 1] = [[0x3e, 0x3e, 0xc6, 0x07, 0x00]];

/// The target that a key names.
enum Callee {
    Nothing,
    Function(u32),
    /// A function outside the image, by its virtual address.
    Outside(u64),
}

pub(super) fn judge(rules: &mut Rules<'_>, n: u32, site: &Site, live: &[u8], to: u32) -> SiteState {
    let tables = &rules.expected.reference.tables;
    let Some(call) = tables.static_calls.get(n as usize).copied() else {
        return SiteState::Unexpected("an entry that does not exist");
    };
    let linked = rules.expected.linked(site.at, site.length.into());
    if linked == live
        && decode(live, to).is_some_and(|call| rules.expected.is_trampoline(call.target))
    {
        // The trampoline is a site of its own.
        return SiteState::Expected;
    }
    let Some(callee) = callee(rules, call.key) else {
        return SiteState::Unexpected("its key cannot be read");
    };
    if let [0x0f, condition @ 0x80..=0x8f, ..] = *live {
        let conditional = |target| branch::is(live, to, condition, target);
        // A conditional tail call. Without a function to call, it is a conditional return: to a
        // plain return, or to the return thunk if the kernel had chosen one.
        let targets = match callee {
            Callee::Function(function) => [Some(function), None],
            Callee::Nothing => [
                rules.expected.reference.symbols.address("__static_call_return"),
                super::returns::chosen_thunk(rules),
            ],
            Callee::Outside(_) => [None; 2],
        };
        // A plain return is one wherever it is.
        let is_return = || {
            let target = decode(live, to).and_then(|jump| u32::try_from(jump.target).ok());
            target.is_some_and(|target| rules.expected.consists_of(target, &[]))
        };
        let is_right = linked.get(1) == Some(&condition)
            && (targets.into_iter().flatten().any(conditional)
                || (matches!(callee, Callee::Nothing) && is_return()));
        return if is_right { SiteState::Expected } else { SiteState::Unexpected(OTHER) };
    }
    match callee {
        Callee::Nothing if !call.tail && live == NOP5 => SiteState::Expected,
        Callee::Nothing if call.tail => nothing(rules, live, to),
        Callee::Function(function) => {
            let is_right = if call.tail {
                branch::is(live, to, JMP, function)
            } else {
                // A kernel that counts calls compares the place to count with the functions whose
                // code it writes, and so calls them as well.
                let inlined = is_inlined(rules.expected, function, live)
                    && counted(rules, function).is_none();
                inlined || is_call(rules, live, to, function)
            };
            if is_right { entry(rules, function) } else { SiteState::Unexpected(OTHER) }
        }
        Callee::Outside(virt) => outside(rules, virt, live, to),
        Callee::Nothing => SiteState::Unexpected(OTHER),
    }
}

pub(super) fn judge_trampoline(rules: &mut Rules<'_>, n: u32, live: &[u8], to: u32) -> SiteState {
    let Some(trampoline) = rules.expected.reference.tables.trampolines.get(n as usize).copied()
    else {
        return SiteState::Unexpected("an entry that does not exist");
    };
    if trampoline.key == Trampoline::UNKNOWN_KEY {
        return without_key(rules, live, to);
    }
    match callee(rules, trampoline.key) {
        None => SiteState::Unexpected("its key cannot be read"),
        Some(Callee::Nothing) => nothing(rules, live, to),
        Some(Callee::Function(function)) if branch::is(live, to, JMP, function) => {
            entry(rules, function)
        }
        // `DEFINE_STATIC_CALL_RET0()` links a trampoline that returns zero by itself.
        Some(Callee::Function(function))
            if returns_zero(rules.expected, function)
                && rules.expected.linked(to, live.len()) == live =>
        {
            SiteState::Expected
        }
        Some(Callee::Outside(virt)) => outside(rules, virt, live, to),
        Some(Callee::Function(_)) => SiteState::Unexpected(OTHER),
    }
}

/// A trampoline without a site in the kernel, whose key is not known. As linked it is right. A form
/// that the kernel can give it is not judged, and every other form is wrong.
fn without_key(rules: &mut Rules<'_>, live: &[u8], to: u32) -> SiteState {
    if rules.expected.linked(to, live.len()) == live {
        return SiteState::Expected;
    }
    let function = decode(live, to).filter(|branch| branch.opcode == JMP).map(|jump| jump.target);
    let function = function.and_then(|target| u32::try_from(target).ok());
    let leads = function.is_some_and(|function| {
        rules.expected.is_function(function) || rules.expected.may_be_function(function)
    });
    if leads || nothing(rules, live, to) == SiteState::Expected {
        SiteState::NotJudged("the image does not name the key of this static call")
    } else {
        SiteState::Unexpected(OTHER)
    }
}

/// A tail call, or a trampoline, without a function to call. It returns.
///
/// `__static_call_transform()` asks for the return thunk at the moment of the update. A static call
/// that was switched off before the kernel chose its mitigations holds a plain return from then on
/// (6.1 to 7.2: `static_call_init()` runs in `setup_arch()`, and `apply_returns()` later rewrites
/// only what `.return_sites` lists). Both forms return to the caller, so neither skips anything.
fn nothing(rules: &mut Rules<'_>, live: &[u8], to: u32) -> SiteState {
    let is_listed = rules.expected.reference.tables.returns.binary_search(&to).is_ok();
    if branch::is_plain_return(live) && !is_listed {
        return SiteState::Expected;
    }
    super::returns::judge(rules, live, to)
}

const OTHER: &str = "not a call to the function that its key names";

fn callee(rules: &Rules<'_>, key: u32) -> Option<Callee> {
    Some(match rules.word(key)? {
        0 => Callee::Nothing,
        virt => match rules.state.offset_of(virt) {
            Some(function) if function < rules.expected.text_size() => Callee::Function(function),
            _ => Callee::Outside(virt),
        },
    })
}

/// A function whose instruction replaces a call: its place, its code, the forms of the instruction.
type Inlined<'a> = (Option<u32>, &'a [u8], &'a [[u8; 5]]);

/// Whether `live` does what this function does. The kernel writes the instruction of one of three
/// functions in place of a call to it.
fn is_inlined(expected: &Expected, function: u32, live: &[u8]) -> bool {
    let known = &expected.reference.tables.known_symbols;
    let inlined: [Inlined<'_>; 3] = [
        (known.return_zero, &ZERO, &RETURN_ZERO),
        (known.warning, WARNING.as_flattened(), &WARNING),
        (known.unlock, &CLEAR, &UNLOCK),
    ];
    inlined.iter().any(|(of, code, forms)| {
        let is_it = *of == Some(function) || expected.consists_of(function, code);
        is_it && forms.iter().any(|form| live == form)
    })
}

/// Whether a function is `__static_call_return0`, or does the same.
fn returns_zero(expected: &Expected, function: u32) -> bool {
    expected.reference.tables.known_symbols.return_zero == Some(function)
        || expected.consists_of(function, &ZERO)
}

/// The target must be the start of a function.
fn entry(rules: &Rules<'_>, function: u32) -> SiteState {
    if rules.expected.is_function(function) {
        SiteState::Expected
    } else if rules.expected.may_be_function(function) {
        SiteState::NotJudged(MAY_BE_FUNCTION)
    } else {
        SiteState::Unexpected("its key names the middle of a function")
    }
}

/// A function of a module: the branch must be followed.
fn outside(rules: &Rules<'_>, virt: u64, live: &[u8], to: u32) -> SiteState {
    match decode(live, to) {
        Some(branch) if rules.state.virt_of(branch.target) == virt => {
            SiteState::Followed(branch.opcode, branch.target)
        }
        _ => SiteState::Unexpected(OTHER),
    }
}
