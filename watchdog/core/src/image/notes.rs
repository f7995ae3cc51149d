//! The notes of a kernel, and the GNU build id among them.
//!
//! `.notes` holds many notes. Most are for Xen, and some have the build id's type. Only name and
//! type together identify it (include/uapi/linux/elf.h, `NT_GNU_BUILD_ID`).

/// Shortest and longest build id that is believed. `ld --build-id` makes 8, 16 or 20 bytes, or any
/// number on request.
const BUILD_ID_SIZE: std::ops::RangeInclusive<usize> = 8..=64;
const GNU: &[u8] = b"GNU\0";
const NT_GNU_BUILD_ID: u32 = 3;
const HEADER: usize = 12;

/// A build id, and the note that holds it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BuildId<'a> {
    /// Offset of its note in the section.
    pub(super) offset: usize,
    /// Header, name and id.
    pub(super) note: &'a [u8],
    /// The id.
    pub(super) id: &'a [u8],
}

/// The only build id in a section of notes. The error says what the kernel has instead.
pub(super) fn build_id(section: &[u8]) -> Result<BuildId<'_>, String> {
    let mut found = None;
    let mut offset = 0;
    while offset < section.len() {
        let note = Note::at(section, offset).ok_or_else(|| {
            format!("has a note, {offset} bytes into `.notes`, that is cut short")
        })?;
        if note.name == GNU && note.kind == NT_GNU_BUILD_ID {
            let id = BuildId { offset, note: note.whole, id: note.content };
            if found.replace(id).is_some() {
                return Err("has two build ids".to_owned());
            }
        }
        offset = note.next;
    }
    let found = found.ok_or("has no build id, which identifies a kernel")?;
    if BUILD_ID_SIZE.contains(&found.id.len()) {
        Ok(found)
    } else {
        Err(format!("has a build id of {} bytes; 8 to 64 are valid", found.id.len()))
    }
}

struct Note<'a> {
    whole: &'a [u8],
    name: &'a [u8],
    kind: u32,
    content: &'a [u8],
    next: usize,
}

impl<'a> Note<'a> {
    /// Reads three words (bytes of the name, bytes of the content, type), then name and content,
    /// both padded to a multiple of four bytes.
    fn at(section: &'a [u8], offset: usize) -> Option<Self> {
        let word = |index: usize| {
            let bytes = section.get(offset..)?.get(index.checked_mul(4)?..)?.first_chunk()?;
            Some(u32::from_le_bytes(*bytes))
        };
        let (name_size, content_size) = (to_usize(word(0)?)?, to_usize(word(1)?)?);
        let name_at = offset.checked_add(HEADER)?;
        let name_end = name_at.checked_add(name_size)?;
        let content_at = name_end.checked_next_multiple_of(4)?;
        let content_end = content_at.checked_add(content_size)?;
        Some(Self {
            whole: section.get(offset..content_end)?,
            name: section.get(name_at..name_end)?,
            kind: word(2)?,
            content: section.get(content_at..content_end)?,
            next: content_end.checked_next_multiple_of(4)?,
        })
    }
}

fn to_usize(word: u32) -> Option<usize> {
    usize::try_from(word).ok()
}
