//! Inputs as stored baselines, and seeds.

use watchdog_core::digest::Digest;

use crate::suspect::SUSPECT;

/// First byte of an input that is a whole file. In any other input, the bytes after the first are a
/// reference, which gets a matching header.
const WHOLE: u8 = b'w';

/// The file that an input describes.
#[must_use]
pub fn file(node: &str, input: &[u8]) -> Vec<u8> {
    match input {
        [WHOLE, file @ ..] => file.to_vec(),
        [_, reference @ ..] => with_header(node, reference),
        [] => Vec::new(),
    }
}

/// A baseline file with this reference, which may be anything. The header takes the size of the
/// text from the reference. The size is 0 if the reference states none.
fn with_header(node: &str, reference: &[u8]) -> Vec<u8> {
    let packed = literal_block(reference);
    let size = stated_text_size(reference).unwrap_or_default();
    let header = format!(
        "{{\"node\":\"{node}\",\"kind\":\"image\",\
         \"kernel\":{{\"release\":\"6.12\",\"size\":{size}}},\
         \"origin\":{{\"source\":\"fuzz\",\"sha256\":\"{}\",\"made\":\"1970-01-01T00:00:00Z\"}},\
         \"sha256\":\"{}\",\"unpacked\":{}}}\n",
        Digest::of(reference),
        Digest::of(&packed),
        reference.len()
    );
    [b"watchdog-baseline 3\n", header.as_bytes(), &packed].concat()
}

/// An LZ4 block of one run of literals (doc/lz4_Block_format.md).
fn literal_block(bytes: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    match bytes.len().checked_sub(15) {
        None => block.push((bytes.len() as u8) << 4),
        Some(mut rest) => {
            block.push(0xf0);
            while rest >= 255 {
                block.push(255);
                rest -= 255;
            }
            block.push(rest as u8);
        }
    }
    block.extend(bytes);
    block
}

/// The size of the text that a reference states, behind three strings, a number and an offset.
fn stated_text_size(reference: &[u8]) -> Option<u64> {
    let mut rest = reference;
    for _ in 0..3 {
        let length = usize::try_from(varint(&mut rest)?).ok()?;
        rest = rest.get(length..)?;
    }
    let _link_address = varint(&mut rest)?;
    let _offset = varint(&mut rest)?;
    varint(&mut rest)
}

/// Reads a number in postcard's encoding: seven bits per byte, the lowest first.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The seeds: the suspect's reference, a truncated one, and whole files.
///
/// # Panics
/// When the reference cannot be encoded.
#[must_use]
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut reference = (*SUSPECT.baseline.reference).clone();
    // Short enough for the fuzzer to change all of it.
    reference.text.bytes.truncate(0x800);
    let size = reference.text.bytes.len() as u32;
    for list in [
        &mut reference.tables.smp_locks,
        &mut reference.tables.retpolines,
        &mut reference.tables.returns,
        &mut reference.tables.calls,
        &mut reference.tables.ibt_seals,
        &mut reference.tables.fentry,
    ] {
        list.retain(|at| *at < size);
    }
    reference.tables.alternatives.retain(|entry| entry.at < size);
    reference.tables.paravirt.retain(|site| site.at < size);
    reference.tables.jump_labels.retain(|label| label.at < size);
    reference.tables.static_calls.retain(|call| call.at < size);
    reference.rodata.bytes.truncate(0x100);
    let bytes = postcard::to_stdvec(&reference).expect("a reference in memory");
    let whole = |file: Vec<u8>| [&[WHOLE], file.as_slice()].concat();
    let file = with_header("fuzzed", &bytes);
    let other = String::from_utf8_lossy(&file[..20]).replace('2', "1").into_bytes();
    vec![
        ("reference".to_owned(), [&[b'r'], bytes.as_slice()].concat()),
        ("reference-cut-short".to_owned(), [&[b'r'], &bytes[..bytes.len() / 2]].concat()),
        ("whole".to_owned(), whole(file.clone())),
        ("whole-cut-short".to_owned(), whole(file[..200].to_vec())),
        ("other-version".to_owned(), whole(other)),
    ]
}
