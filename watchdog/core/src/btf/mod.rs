//! A kernel's own description of its types (BTF): the offsets of fields, the functions that exist,
//! and their prototypes.
//!
//! Format: Documentation/bpf/btf.rst and include/uapi/linux/btf.h (6.1 to 7.3). The information
//! comes from the kernel that runs this program, from a vendor's image, or from another node's
//! memory, which may hold anything. Every bound is checked. The memory for each type and the cost
//! of a lookup are limited.

mod error;
mod lookup;
#[cfg(test)]
pub(crate) mod made_up;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

pub use error::BtfError;

/// For fields that are not read in one go: [`Btf::offset`] then accepts any size.
pub const ANY_SIZE: u64 = 0;
/// Most bytes that are accepted. Distribution kernels have 4 to 10 MB of type information.
pub const MAX_BYTES: usize = 32 << 20;

const MAGIC: u16 = 0xeb9f;
/// `BTF_MAX_TYPE`: a type number has 20 bits.
const MAX_TYPES: usize = 0xf_ffff;
/// Longest name that can be found: `KSYM_NAME_LEN` (include/linux/kallsyms.h). The kernel limits
/// names in type information to it (`btf_name_valid_identifier()`, kernel/bpf/btf.c).
const MAX_NAME: usize = 512;

/// `BTF_KIND_*`.
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const FLOAT: u32 = 16;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

/// `struct btf_type`: the head of a type, and where its body is.
#[derive(Clone, Copy, Debug)]
struct Type {
    /// Offset of its name in the strings; 0 for none.
    name: u32,
    kind: u32,
    /// Whether members carry bit field sizes.
    flag: bool,
    /// Number of members, values or parameters: 16 bits, and 24 since 7.3.
    count: usize,
    /// Bytes, or the number of the type that it refers to.
    size_or_type: u32,
    /// Offset of what follows the head, in all bytes.
    body: usize,
}

/// Parsed type information.
#[derive(Debug)]
pub struct Btf {
    bytes: Vec<u8>,
    /// The range of the strings in the bytes.
    strings: Range<usize>,
    /// By type number; number 0 is `void`.
    types: Vec<Type>,
    hasher: RandomState,
    /// Structures, enumerations and functions by the hash of their name, ascending. Types of the
    /// same name are sorted by number.
    named: Vec<(u64, u32)>,
}

impl Btf {
    /// Parses the content of `/sys/kernel/btf/vmlinux`, or of the same section elsewhere. A type of
    /// an unknown kind is skipped if the information states its size (since 7.3). Otherwise the
    /// types before it are all that is known.
    ///
    /// # Errors
    /// [`BtfError::Damaged`], [`BtfError::TooLarge`].
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BtfError> {
        if bytes.len() > MAX_BYTES {
            return Err(BtfError::TooLarge);
        }
        let Sections { types, strings, layouts } = sections(&bytes).ok_or(BtfError::Damaged)?;
        let types = heads(&bytes, types, layouts)?;
        let (hasher, named) = (RandomState::new(), Vec::new());
        let mut btf = Self { bytes, strings, types, hasher, named };
        btf.named = btf.names();
        Ok(btf)
    }

    /// The bytes that were parsed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Makes the index by name. It keeps only a hash of each name: a hostile kernel may have a
    /// million types with names of megabytes.
    fn names(&self) -> Vec<(u64, u32)> {
        let is_named = |head: &Type| matches!(head.kind, kind::STRUCT | kind::ENUM | kind::FUNC);
        let types = (0..).zip(&self.types).filter(|(_, head)| is_named(head));
        let mut named: Vec<_> = types
            .filter_map(|(id, head)| Some((self.hasher.hash_one(self.name(head.name)?), id)))
            .collect();
        named.sort_unstable();
        named
    }

    /// The types of a kind and a name, by number, ascending.
    fn all<'a>(&'a self, name: &'a str, kind: u32) -> impl Iterator<Item = usize> + 'a {
        let hash = self.hasher.hash_one(name.as_bytes());
        let first = self.named.partition_point(|(it, _)| *it < hash);
        let alike = self.named.get(first..).unwrap_or_default().iter();
        alike.take_while(move |(it, _)| *it == hash).map(|(_, id)| *id as usize).filter(move |id| {
            let head = self.types.get(*id);
            head.is_some_and(|head| head.kind == kind && self.is_name(head.name, name.as_bytes()))
        })
    }

    /// The strings, from an offset to their end.
    fn strings_from(&self, offset: u32) -> Option<&[u8]> {
        self.bytes.get(self.strings.clone())?.get(offset as usize..)
    }

    /// The name at an offset, if it can be found: it is not empty and not too long.
    fn name(&self, offset: u32) -> Option<&[u8]> {
        let rest = self.strings_from(offset)?;
        let rest = rest.get(..MAX_NAME).unwrap_or(rest);
        let end = rest.iter().position(|byte| *byte == 0).filter(|end| *end > 0)?;
        rest.get(..end)
    }

    /// Whether the string at an offset is `name`.
    fn is_name(&self, offset: u32, name: &[u8]) -> bool {
        let rest = self.strings_from(offset).and_then(|it| it.strip_prefix(name));
        rest.is_some_and(|rest| rest.first() == Some(&0))
    }

    /// One of the 32-bit words that follow a type's head.
    fn word(&self, head: &Type, n: usize) -> Option<u32> {
        u32_at(&self.bytes, head.body.checked_add(n.checked_mul(4)?)?)
    }
}

/// The ranges of the parts (`struct btf_header`).
struct Sections {
    types: Range<usize>,
    strings: Range<usize>,
    /// Sizes of the kinds (`struct btf_layout`, since 7.3); empty in older kernels.
    layouts: Range<usize>,
}

fn sections(bytes: &[u8]) -> Option<Sections> {
    /// Bytes of the header with the range of layouts.
    const WITH_LAYOUTS: usize = 32;
    if u16::from_le_bytes(*bytes.first_chunk()?) != MAGIC {
        return None;
    }
    let word = |at: usize| Some(u32_at(bytes, at)? as usize);
    let header = word(4)?;
    let section = |offset: usize, length: usize| {
        let start = header.checked_add(word(offset)?)?;
        let end = start.checked_add(word(length)?)?;
        (end <= bytes.len()).then_some(start..end)
    };
    let layouts = if header >= WITH_LAYOUTS { section(24, 28)? } else { 0..0 };
    Some(Sections { types: section(8, 12)?, strings: section(16, 20)?, layouts })
}

/// The heads of all types, up to one of unknown size.
fn heads(
    bytes: &[u8],
    section: Range<usize>,
    layouts: Range<usize>,
) -> Result<Vec<Type>, BtfError> {
    let layouts = bytes.get(layouts).unwrap_or_default();
    let void = Type { name: 0, kind: 0, flag: false, count: 0, size_or_type: 0, body: 0 };
    let (mut types, mut at) = (vec![void], section.start);
    while at < section.end {
        if types.len() > MAX_TYPES {
            return Err(BtfError::TooLarge);
        }
        let head = head(bytes, at).ok_or(BtfError::Damaged)?;
        let Some(size) = body_bytes(&head, layouts) else {
            log::debug!("type information: type {} is of kind {}", types.len(), head.kind);
            break;
        };
        let end = head.body.checked_add(size);
        at = end.filter(|end| *end <= section.end).ok_or(BtfError::Damaged)?;
        types.push(head);
    }
    Ok(types)
}

fn head(bytes: &[u8], at: usize) -> Option<Type> {
    let info = u32_at(bytes, at.checked_add(4)?)?;
    Some(Type {
        name: u32_at(bytes, at)?,
        kind: (info >> 24) & 0x7f,
        flag: info >> 31 != 0,
        count: (info & 0x00ff_ffff) as usize,
        size_or_type: u32_at(bytes, at.checked_add(8)?)?,
        body: at.checked_add(12)?,
    })
}

/// Bytes behind a type's head; `None` for an unknown kind without a layout.
fn body_bytes(head: &Type, layouts: &[u8]) -> Option<usize> {
    let (fixed, each) = match head.kind {
        kind::INT | kind::VAR | kind::DECL_TAG => (4, 0),
        kind::ARRAY => (12, 0),
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => (0, 12),
        kind::ENUM | kind::FUNC_PROTO => (0, 8),
        0..=kind::FLOAT | kind::TYPE_TAG => (0, 0),
        // `struct btf_layout`: bytes of the one part, of each element, and two of flags.
        other => match *layouts.as_chunks::<4>().0.get(other as usize)? {
            [fixed, each, ..] => (usize::from(fixed), usize::from(each)),
        },
    };
    head.count.checked_mul(each)?.checked_add(fixed)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}
