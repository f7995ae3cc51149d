//! Whether code is a moved copy of other code.
//!
//! `apply_alternatives()` copies a replacement over the original code. It then adjusts what depends
//! on the place: branches and `%rip`-relative operands that lead out of the copy, and NOPs. To save
//! room in the pipeline, it also shortens jumps that now fit into two bytes
//! (arch/x86/kernel/alternative.c: `recompute_jump()` up to 6.3, `__apply_relocation()` since).

use iced_x86::{Decoder, DecoderOptions, Instruction};

use super::branch::{INT3, JMP, JMP8};
use super::nops;

/// Code in the image.
#[derive(Clone, Copy)]
pub(super) struct Code<'a> {
    pub(super) bytes: &'a [u8],
    /// Image offset of its first byte.
    pub(super) at: u32,
}

/// Judges a place of the source that has a rule of its own; `None` for all other places. Returns
/// the number of bytes that the rule covers, and whether the copy obeys it.
pub(super) type Nested<'a> = &'a mut dyn FnMut(u32, &[u8], u32) -> Option<(usize, bool)>;

/// Bytes of a jump with a distance of one byte.
const SHORT_JUMP: usize = 2;
/// Base address for decoding. It is far from both ends, so that negative distances stay addresses.
const BASE: u64 = 1 << 40;

/// Whether `live`, at image offset `to`, is a moved copy of `source`, filled up with NOPs. `nested`
/// judges the places of the source that are themselves rewritten.
pub(super) fn is_copy(source: Code<'_>, live: &[u8], to: u32, nested: Nested<'_>) -> bool {
    let mut at = 0_usize;
    while at < source.bytes.len() {
        let (Some(rest), Some(found)) = (source.bytes.get(at..), live.get(at..)) else {
            return false;
        };
        let (Some(from), Some(here)) = (offset(source.at, at), offset(to, at)) else {
            return false;
        };
        let length = match nested(from, found, here) {
            Some((length, obeys)) => obeys.then_some(length),
            None => match nops::run(rest) {
                0 => instruction(&source, rest, found, from, here),
                run => fits(rest, found, 0, run),
            },
        };
        let Some(length) = length else { return false };
        at = at.saturating_add(length);
    }
    live.get(at..).is_some_and(nops::fill)
}

/// Compares one instruction of `source`, and the filling behind it, with `found`. Returns the
/// number of matching bytes; `None` for another instruction. `rest` is at `from` in the source, and
/// `found` is at `here`.
fn instruction(
    source: &Code<'_>,
    rest: &[u8],
    found: &[u8],
    from: u32,
    here: u32,
) -> Option<usize> {
    let base = BASE.saturating_add(from.into());
    let mut decoder = Decoder::with_ip(64, rest, base, DecoderOptions::NONE);
    let instruction = decoder.decode();
    if instruction.is_invalid() {
        return None;
    }
    let length = instruction.len();
    let words = rest.get(..length)?;
    let start = i64::from(source.at);
    // Its end counts as inside (`need_reloc()`, 6.5 to 7.2): such a branch skips the rest of the
    // copy, wherever the copy is.
    let own = start..=start.saturating_add(source.bytes.len() as i64);
    let target = leads_to(&instruction).map(|target| target.wrapping_sub(BASE).cast_signed());
    let Some(target) = target.filter(|target| !own.contains(target)) else {
        return found.starts_with(words).then_some(length);
    };
    if is_moved(&decoder, &instruction, words, found, here, target) {
        return Some(length);
    }
    if words.first() != Some(&JMP) || !is_short(found, here, target) {
        return None;
    }
    // Three bytes are left over, followed by any NOPs.
    let behind = rest.get(length..).map_or(0, nops::run);
    let filled = fits(rest, found, SHORT_JUMP, length.saturating_add(behind));
    let stopped = || {
        let left = found.get(SHORT_JUMP..length)?;
        left.iter().all(|byte| *byte == INT3).then_some(length)
    };
    filled.or_else(stopped)
}

/// Returns the end of the NOPs in `found` from `start` to `end`; `None` for other code. If `rest`
/// ends at `end`, the NOPs must reach the end of `found`, because the kernel may fill both in one
/// run.
fn fits(rest: &[u8], found: &[u8], start: usize, end: usize) -> Option<usize> {
    let end = if end == rest.len() { found.len() } else { end };
    nops::fill(found.get(start..end)?).then_some(end)
}

/// The address that an instruction names relative to itself, of code or of data.
fn leads_to(instruction: &Instruction) -> Option<u64> {
    if instruction.is_ip_rel_memory_operand() {
        return Some(instruction.ip_rel_memory_address());
    }
    let near = instruction.is_jmp_short_or_near()
        || instruction.is_jcc_short_or_near()
        || instruction.is_call_near()
        || instruction.is_loop()
        || instruction.is_loopcc()
        || instruction.is_jcx_short();
    near.then(|| instruction.near_branch_target())
}

/// Whether `found` at `here` is the instruction, with its distance to `target` adjusted.
fn is_moved(
    decoder: &Decoder<'_>,
    instruction: &Instruction,
    words: &[u8],
    found: &[u8],
    here: u32,
    target: i64,
) -> bool {
    let places = decoder.get_constant_offsets(instruction);
    let (start, size) = if instruction.is_ip_rel_memory_operand() {
        (places.displacement_offset(), places.displacement_size())
    } else {
        (places.immediate_offset(), places.immediate_size())
    };
    let next = i64::from(here).saturating_add(words.len() as i64);
    let distance = target.saturating_sub(next);
    let mut expected = [0; 16];
    let Some(expected) = expected.get_mut(..words.len()) else { return false };
    expected.copy_from_slice(words);
    let field = expected.get_mut(start..start.saturating_add(size));
    match (field, size) {
        (Some(field), 4) => match i32::try_from(distance) {
            Ok(distance) => field.copy_from_slice(&distance.to_le_bytes()),
            Err(_) => return false,
        },
        (Some(field), 1) => match i8::try_from(distance) {
            Ok(distance) => field.copy_from_slice(&distance.to_le_bytes()),
            Err(_) => return false,
        },
        _ => return false,
    }
    found.starts_with(expected)
}

/// Whether `found` at `here` begins with a two-byte jump to `target`.
fn is_short(found: &[u8], here: u32, target: i64) -> bool {
    matches!(found, [JMP8, distance, ..] if
        i64::from(here).saturating_add(2).saturating_add(distance.cast_signed().into()) == target)
}

fn offset(from: u32, by: usize) -> Option<u32> {
    from.checked_add(u32::try_from(by).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Image offset of the source.
    const SOURCE: u32 = 0x1000;
    /// Image offset of the copy.
    const COPY: u32 = 0x200;

    fn copied(source: &[u8], live: &[u8]) -> bool {
        is_copy(Code { bytes: source, at: SOURCE }, live, COPY, &mut |_, _, _| None)
    }

    /// Check that a branch to the end of the source stays as it is, as in `UNTRAIN_RET`. Check that
    /// a branch that leads further out keeps its target, and that no other branch is a copy.
    #[test]
    fn branches_to_the_end() {
        // `jb` to the end, and a NOP.
        let inside = [0x72, 0x03, 0x0f, 0x1f, 0x00];
        assert!(copied(&inside, &inside));
        assert!(copied(&inside, &[&inside[..], &[0x66, 0x90]].concat()));
        for distance in [0x00, 0x02, 0x04, 0x7f, 0x80] {
            assert!(!copied(&inside, &[0x72, distance, 0x0f, 0x1f, 0x00]));
        }
        // `jb` to the byte behind the end, which no copy so far away can reach.
        let outside = [0x72, 0x04, 0x0f, 0x1f, 0x00];
        assert!(!copied(&outside, &outside));
        // `jae` with four bytes of distance, to the byte behind the end.
        let outside = [0x0f, 0x83, 1, 0, 0, 0];
        let [a, b, c, d] = (SOURCE + 7 - (COPY + 6)).to_le_bytes();
        assert!(copied(&outside, &[0x0f, 0x83, a, b, c, d]) && !copied(&outside, &outside));
        let outside = [0x0f, 0x83, 0, 0, 0, 0];
        assert!(copied(&outside, &outside));
    }
}
