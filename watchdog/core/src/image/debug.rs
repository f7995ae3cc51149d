//! The debug information of a vmlinux: its sections, uncompressed, and what is taken from them.

use std::borrow::Cow;
use std::io::{self, Read};

use object::elf::{self, CompressionHeader64};
use object::endian::LittleEndian;
use object::read::ReadRef;
use object::read::elf::SectionHeader;
use ruzstd::decoding::StreamingDecoder;

use super::MAX_UNPACKED;
use super::payload::MAX_DICTIONARY;
use super::vmlinux::{LE, Vmlinux};
use crate::btf::Btf;
use crate::dwarf::{Fields, Sections};

/// Finds the fields of those structures that `types`, the content of `.BTF`, does not describe. The
/// debug sections are freed afterwards. Damaged debug information is left out, because an image can
/// be judged without it. `limit` bounds the bytes of all sections that are packed.
pub(super) fn fields<'data, R: ReadRef<'data>>(
    vmlinux: &Vmlinux<'data, R>,
    types: Option<&[u8]>,
    limit: u64,
) -> Fields {
    let types = types.and_then(|types| Btf::parse(types.to_vec()).ok());
    let is_missing =
        |name: &str| types.as_ref().is_none_or(|types| types.structure(name).is_none());
    let mut left = limit;
    let mut section = |name| {
        content(vmlinux, name, &mut left).unwrap_or_else(|error| {
            log::debug!("{name} is not read: {error}");
            Cow::default()
        })
    };
    let info = section(".debug_info");
    if info.is_empty() {
        return Fields::default();
    }
    let others = [".debug_abbrev", ".debug_str", ".debug_line_str", ".debug_str_offsets"];
    let [abbreviations, strings, line_strings, string_offsets] = &others.map(section);
    let (info, abbreviations) = (&info, abbreviations);
    Fields::of(&Sections { info, abbreviations, strings, line_strings, string_offsets }, is_missing)
}

/// The content of a section; empty if the section is missing. `left` bounds the bytes of all
/// sections that are compressed.
fn content<'data, R: ReadRef<'data>>(
    vmlinux: &Vmlinux<'data, R>,
    name: &str,
    left: &mut u64,
) -> io::Result<Cow<'data, [u8]>> {
    let is_it = |section: &&super::vmlinux::Section| vmlinux.is_named(section, name);
    let Some(section) = vmlinux.sections.iter().find(is_it) else { return Ok(Cow::default()) };
    let bytes = vmlinux.content(section, name, MAX_UNPACKED).map_err(io::Error::other)?;
    if section.sh_flags(LE) & u64::from(elf::SHF_COMPRESSED) == 0 {
        return Ok(Cow::Borrowed(bytes));
    }
    let (header, packed) = object::pod::from_bytes::<CompressionHeader64<LittleEndian>>(bytes)
        .map_err(|()| io::Error::other("it has no header"))?;
    let size = header.ch_size.get(LE);
    *left = left.checked_sub(size).ok_or_else(|| io::Error::other("it is too large"))?;
    let mut unpacked = Vec::new();
    match header.ch_type.get(LE) {
        elf::ELFCOMPRESS_ZLIB => {
            let decoder = flate2::bufread::ZlibDecoder::new(packed);
            decoder.take(size).read_to_end(&mut unpacked)?;
        }
        elf::ELFCOMPRESS_ZSTD => {
            let decoder = StreamingDecoder::new_with_max_window_size(packed, MAX_DICTIONARY.into())
                .map_err(io::Error::other)?;
            decoder.take(size).read_to_end(&mut unpacked)?;
        }
        other => return Err(io::Error::other(format!("it is packed in an unknown way ({other})"))),
    }
    Ok(Cow::Owned(unpacked))
}
