//! Where functions begin, in an image without symbols.
//!
//! Each source names starts of functions and nothing else: what the kernel calls directly, what it
//! traces or seals, what it exports, what a pointer calls as linked, what a landing pad begins, and
//! what stands behind the padding of a function. A pointer in data is not a source: it may be an
//! entry of a `switch`, or a label.

use std::collections::BTreeSet;

use iced_x86::{Code, Decoder, DecoderOptions, Instruction};

use super::super::ImageSymbols;
use super::super::read::Table;
use super::text::{CALL, ENDBR64, JMP, Text};
use super::uses;
use crate::verify::instruction::{Before, before};
use crate::verify::reference::{Trampoline, tables};

/// Bytes to which compilers align functions.
const ALIGNMENT: u32 = 16;
/// The padding in front of each function of a kernel that can count calls (`CONFIG_CALL_PADDING`).
/// No compiler fills other gaps with NOPs of one byte.
const PADDING: [u8; 16] = [0x90; 16];
/// Bytes of the code before a function that checks a hash (`.cfi_sites`).
const PREAMBLE: u32 = 16;
/// Bytes of an entry of `__ksymtab`, whose first field is a distance.
const EXPORT: usize = 12;

/// The starts of functions in the text, ascending.
pub(super) fn starts(text: &Text<'_>, symbols: &ImageSymbols) -> BTreeSet<u32> {
    let preambles = text.places(".cfi_sites").filter_map(|at| at.checked_add(PREAMBLE));
    let mut starts: BTreeSet<u32> = traced(text, symbols)
        .into_iter()
        .chain(text.places(".ibt_endbr_seal"))
        .chain(preambles)
        .chain(called(text))
        .chain(exported(text))
        .chain(pointed_to(text, symbols))
        .chain(chosen_thunks(text, symbols))
        .chain(padded(text))
        .chain(landing_pads(text))
        .collect();
    starts.retain(|at| *at < text.size);
    starts
}

/// The functions of `__mcount_loc`.
fn traced(text: &Text<'_>, symbols: &ImageSymbols) -> Vec<u32> {
    let entries = || {
        let start = symbols.address("__start_mcount_loc")?;
        let size = symbols.address("__stop_mcount_loc")?.checked_sub(start)?;
        text.image.bytes(start, size)
    };
    let words = entries().unwrap_or_default().as_chunks::<8>().0;
    let places = words.iter().filter_map(|word| text.offset_of(u64::from_le_bytes(*word)));
    places.map(|at| text.with_pad(at)).collect()
}

/// The targets of direct calls: by `.call_sites`, or by decoding the whole text.
fn called(text: &Text<'_>) -> Vec<u32> {
    if text.image.section(".call_sites").is_some() {
        return text.places(".call_sites").filter_map(|at| text.target(CALL, at)).collect();
    }
    let mut decoder = Decoder::with_ip(64, text.bytes(), 0, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    let mut targets = Vec::new();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        if instruction.code() != Code::Call_rel32_64 {
            continue;
        }
        // Retpolines call over a few bytes of their own. A call to an address that no function is
        // aligned to may be data.
        let target = u32::try_from(instruction.near_branch64()).ok();
        let is_near = |at: &u32| u64::from(*at).abs_diff(instruction.ip()) < ALIGNMENT.into();
        targets.extend(target.filter(|at| at.is_multiple_of(ALIGNMENT) && !is_near(at)));
    }
    targets
}

/// The functions of `__ksymtab` and `__ksymtab_gpl` (`struct kernel_symbol`, include/linux/export.h
/// and kernel/module/internal.h).
fn exported(text: &Text<'_>) -> Vec<u32> {
    let sections = ["__ksymtab", "__ksymtab_gpl"].into_iter().filter_map(|name| {
        let section = text.image.section(name)?;
        Some(Table { offset: section.offset, bytes: text.image.content(section) })
    });
    let entries = sections.flat_map(|table| table.entries(EXPORT));
    entries.filter_map(|entry| entry.place(0)).collect()
}

/// What calls through pointers lead to as linked: keys, trampolines, the pointers of `pv_ops`.
fn pointed_to(text: &Text<'_>, symbols: &ImageSymbols) -> Vec<u32> {
    let of_name = |(name, _, at): (&str, u8, u32)| {
        if name.starts_with("__SCT__") {
            text.target(JMP, at)
        } else if name.starts_with("__SCK__") && at != Trampoline::UNKNOWN_KEY {
            text.pointer(at)
        } else {
            None
        }
    };
    let slots = uses::slots(text, symbols).into_iter().filter_map(|slot| text.pointer(slot));
    symbols.iter().filter_map(of_name).chain(slots).collect()
}

/// The thunks that the kernel may choose for its returns: what its code writes into
/// `x86_return_thunk` (`movq $THUNK,VARIABLE`, arch/x86/kernel/cpu/bugs.c).
fn chosen_thunks(text: &Text<'_>, symbols: &ImageSymbols) -> Vec<u32> {
    let Some(variable) = symbols.address("x86_return_thunk") else { return Vec::new() };
    const LENGTH: u32 = 11;
    let written = |at: u32| {
        let [_, _, _, a, b, c, d, e, f, g, h] = text.code(at)?;
        let distance = i32::from_le_bytes([a, b, c, d]);
        let place = at.checked_add(LENGTH)?.checked_add_signed(distance)?;
        let value = i64::from(i32::from_le_bytes([e, f, g, h])).cast_unsigned();
        text.offset_of(value).filter(|_| place == variable)
    };
    // The code is in the boot code, behind the text.
    let places = memchr::memmem::find_iter(text.image.all(), &[0x48, 0xc7, 0x05]);
    places.filter_map(|at| written(u32::try_from(at).ok()?)).collect()
}

/// What stands behind the padding of a function.
fn padded(text: &Text<'_>) -> Vec<u32> {
    let alternatives = tables::alternatives_of(text.image).unwrap_or_default();
    let is_alternative = |at: u32| {
        let behind = alternatives.partition_point(|entry| entry.at < at);
        let last = behind.checked_sub(1).and_then(|last| alternatives.get(last));
        last.is_some_and(|entry| entry.at.saturating_add(entry.length.into()) >= at)
    };
    let is_start = |at: &u32| {
        text.before(*at, ALIGNMENT) == Some(PADDING.as_slice())
            && !matches!(text.code(*at), Some([0x90 | 0xcc]))
            && !is_alternative(*at)
    };
    aligned(text).filter(is_start).collect()
}

/// Aligned landing pads.
fn landing_pads(text: &Text<'_>) -> Vec<u32> {
    aligned(text).filter(|at| text.code(*at) == Some(ENDBR64)).collect()
}

fn aligned(text: &Text<'_>) -> impl Iterator<Item = u32> + use<> {
    (0..text.size).step_by(ALIGNMENT as usize)
}

/// The last aligned place from the function at `least` up to `at` that no code runs into.
pub(super) fn start_before(text: &Text<'_>, at: u32, least: u32) -> Option<u32> {
    let aligned = (least..at).filter(|at| at.is_multiple_of(ALIGNMENT));
    aligned.rev().find(|at| before(text.bytes(), least, *at) == Before::End)
}
