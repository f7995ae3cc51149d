//! A kernel's own description of its types (BTF): where fields are, which functions exist and what
//! they look like.
//!
//! Format: Documentation/bpf/btf.rst. It comes from the kernel that runs this program, or from a
//! vendor's image; it is parsed with every bound checked all the same.

use std::collections::HashMap;

/// What cannot be learned from BTF.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BtfError {
    /// It is no BTF, or cut off.
    #[error("the kernel's type information (BTF) is damaged")]
    Damaged,
    /// No such structure.
    #[error("this kernel has no `struct {0}`")]
    NoStruct(String),
    /// No such field.
    #[error("this kernel's `struct {0}` has no field `{1}`")]
    NoField(String, String),
    /// Several structures of that name differ, or the field is a bit field.
    #[error("where `{1}` is in this kernel's `struct {0}` is ambiguous")]
    Ambiguous(String, String),
    /// The field has another size than this program reads.
    #[error("`{1}` in this kernel's `struct {0}` has {2} bytes, not {3}")]
    Size(String, String, u64, u64),
    /// A structure has another size than this program counts with.
    #[error("this kernel's `struct {0}` has {1} bytes, not {2}")]
    Whole(String, u64, u64),
    /// No such function.
    #[error("this kernel has no function `{0}` to attach to")]
    NoFunction(String),
    /// No such value of an enumeration, or one that is too large.
    #[error("this kernel's `enum {0}` has no `{1}` that could be used")]
    Enumerator(&'static str, &'static str),
    /// A function takes other parameters than this program relies on.
    #[error("this kernel's function `{0}` has {1} parameters, not {2}")]
    Parameters(String, usize, usize),
}

/// For fields that are not read in one go: [`Btf::offset`] then takes any size.
pub const ANY_SIZE: u64 = 0;

const MAGIC: u16 = 0xeb9f;
/// Type chains and nested anonymous members are followed this far.
const DEPTH: usize = 16;

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

/// One type: where its record is, and its head.
#[derive(Clone, Copy, Debug)]
struct Type {
    name: u32,
    kind: u32,
    /// Whether members carry bit field sizes.
    flag: bool,
    count: usize,
    /// Bytes, or the type it refers to.
    size_or_type: u32,
    /// Offset of what follows the head.
    body: usize,
}

/// Parsed BTF.
#[derive(Debug)]
pub struct Btf {
    bytes: Vec<u8>,
    strings: usize,
    types: Vec<Type>,
    structs: HashMap<u32, Vec<usize>>,
    functions: HashMap<u32, usize>,
    enums: HashMap<u32, usize>,
    names: HashMap<Vec<u8>, Vec<u32>>,
}

/// Where a field is, in bytes from the start of its structure, and how large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    offset: u64,
    size: u64,
    of: usize,
}

impl Btf {
    /// Parses the content of `/sys/kernel/btf/vmlinux`.
    ///
    /// # Errors
    /// [`BtfError::Damaged`].
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BtfError> {
        Self::try_parse(bytes).ok_or(BtfError::Damaged)
    }

    /// What was parsed.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn try_parse(bytes: Vec<u8>) -> Option<Self> {
        let word = |at: usize| u32_at(&bytes, at);
        if u16::from_le_bytes(bytes.get(..2)?.try_into().ok()?) != MAGIC {
            return None;
        }
        let header = usize::try_from(word(4)?).ok()?;
        let section = |at: usize| header.checked_add(usize::try_from(word(at)?).ok()?);
        let (first, strings) = (section(8)?, section(16)?);
        let end = first.checked_add(usize::try_from(word(12)?).ok()?)?;
        // Type 0 is void.
        let mut types =
            vec![Type { name: 0, kind: 0, flag: false, count: 0, size_or_type: 0, body: 0 }];
        let mut at = first;
        while at < end {
            let info = word(at + 4)?;
            let head = Type {
                name: word(at)?,
                kind: (info >> 24) & 0x1f,
                flag: info >> 31 != 0,
                count: (info & 0xffff) as usize,
                size_or_type: word(at + 8)?,
                body: at + 12,
            };
            at = head.body.checked_add(body_bytes(&head)?)?;
            types.push(head);
        }
        let mut btf = Self {
            bytes,
            strings,
            types,
            structs: HashMap::new(),
            functions: HashMap::new(),
            enums: HashMap::new(),
            names: HashMap::new(),
        };
        btf.index();
        Some(btf)
    }

    fn index(&mut self) {
        for (id, head) in self.types.iter().enumerate() {
            match head.kind {
                kind::STRUCT => self.structs.entry(head.name).or_default().push(id),
                kind::ENUM => {
                    self.enums.insert(head.name, id);
                }
                kind::FUNC => {
                    self.functions.insert(head.name, id);
                }
                _ => continue,
            }
            let places = self.names.entry(self.string(head.name).to_vec()).or_default();
            if places.last() != Some(&head.name) {
                places.push(head.name);
            }
        }
    }

    fn string(&self, offset: u32) -> &[u8] {
        let start = self.strings.saturating_add(offset as usize);
        let rest = self.bytes.get(start..).unwrap_or_default();
        rest.split(|&byte| byte == 0).next().unwrap_or_default()
    }

    /// The offset of a field of `size` bytes; fields of nested structures are joined by dots
    /// (`f_path.dentry`), anonymous ones are looked into, and an array stands for its first element.
    ///
    /// # Errors
    /// [`BtfError`] when it is missing, ambiguous or of another size.
    pub fn offset(&self, name: &str, field: &str, size: u64) -> Result<u32, BtfError> {
        let error = |make: fn(String, String) -> BtfError| make(name.to_owned(), field.to_owned());
        let ids: Vec<usize> = self
            .names
            .get(name.as_bytes())
            .into_iter()
            .flatten()
            .filter_map(|name| self.structs.get(name))
            .flatten()
            .copied()
            .collect();
        if ids.is_empty() {
            return Err(BtfError::NoStruct(name.to_owned()));
        }
        let mut places = ids.iter().filter_map(|&id| self.path(id, field));
        let place = places.next().ok_or_else(|| error(BtfError::NoField))?;
        if places.any(|other| (other.offset, other.size) != (place.offset, place.size)) {
            return Err(error(BtfError::Ambiguous));
        }
        if size != ANY_SIZE && place.size != size {
            return Err(BtfError::Size(name.to_owned(), field.to_owned(), place.size, size));
        }
        u32::try_from(place.offset).map_err(|_| error(BtfError::Ambiguous))
    }

    /// Follows a dotted path from a structure.
    fn path(&self, id: usize, path: &str) -> Option<Place> {
        let mut place = Place { offset: 0, size: 0, of: id };
        for field in path.split('.') {
            let next = self.member(self.element(place.of)?, field.as_bytes(), 0)?;
            place = Place { offset: place.offset.checked_add(next.offset)?, ..next };
        }
        Some(place)
    }

    /// A member of a structure or union, anonymous members included.
    fn member(&self, id: usize, field: &[u8], depth: usize) -> Option<Place> {
        let head = self.types.get(id)?;
        if depth > DEPTH || !matches!(head.kind, kind::STRUCT | kind::UNION) {
            return None;
        }
        (0..head.count).find_map(|n| {
            let at = head.body + n * 12;
            let name = self.string(u32_at(&self.bytes, at)?);
            let of = usize::try_from(u32_at(&self.bytes, at + 4)?).ok()?;
            let bits = u32_at(&self.bytes, at + 8)?;
            let is_bit_field = head.flag && bits >> 24 != 0;
            let bits = u64::from(if head.flag { bits & 0x00ff_ffff } else { bits });
            if name == field && !is_bit_field && bits.is_multiple_of(8) {
                return Some(Place { offset: bits / 8, size: self.size(of)?, of });
            }
            if !name.is_empty() {
                return None;
            }
            let inner = self.member(self.resolve(of)?, field, depth + 1)?;
            Some(Place { offset: (bits / 8).checked_add(inner.offset)?, ..inner })
        })
    }

    /// The type behind typedefs and qualifiers.
    fn resolve(&self, id: usize) -> Option<usize> {
        let mut id = id;
        for _ in 0..DEPTH {
            let head = self.types.get(id)?;
            match head.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = usize::try_from(head.size_or_type).ok()?;
                }
                _ => return Some(id),
            }
        }
        None
    }

    /// The type behind typedefs and qualifiers; of an array, that of its elements.
    fn element(&self, id: usize) -> Option<usize> {
        let id = self.resolve(id)?;
        let head = self.types.get(id)?;
        if head.kind != kind::ARRAY {
            return Some(id);
        }
        self.resolve(usize::try_from(u32_at(&self.bytes, head.body)?).ok()?)
    }

    /// The bytes of a type that can be a field read in one go.
    fn size(&self, id: usize) -> Option<u64> {
        let head = self.types.get(self.resolve(id)?)?;
        match head.kind {
            kind::PTR => Some(8),
            kind::INT | kind::ENUM | kind::ENUM64 | kind::STRUCT | kind::UNION => {
                Some(head.size_or_type.into())
            }
            kind::ARRAY => {
                let element = usize::try_from(u32_at(&self.bytes, head.body)?).ok()?;
                let count = u32_at(&self.bytes, head.body + 8)?;
                // Arrays of arrays are no field that is read.
                let element = self.resolve(element).and_then(|id| self.types.get(id))?;
                let size = if element.kind == kind::PTR { 8 } else { element.size_or_type };
                (element.kind != kind::ARRAY)
                    .then(|| u64::from(size).checked_mul(count.into()))
                    .flatten()
            }
            _ => None,
        }
    }

    /// The number of the type of a structure, if there is exactly one of this name.
    pub fn structure(&self, name: &str) -> Option<u32> {
        let names = self.names.get(name.as_bytes())?.iter();
        match names.filter_map(|name| self.structs.get(name)).flatten().collect::<Vec<_>>()[..] {
            [id] => u32::try_from(*id).ok(),
            _ => None,
        }
    }

    /// The number of the type of a function, if its name stands there once.
    pub fn function(&self, name: &str) -> Option<u32> {
        let names = self.names.get(name.as_bytes())?.iter();
        match names.filter_map(|name| self.functions.get(name)).collect::<Vec<_>>()[..] {
            [id] => u32::try_from(*id).ok(),
            _ => None,
        }
    }

    /// Checks that a structure has `size` bytes.
    ///
    /// # Errors
    /// [`BtfError::NoStruct`], [`BtfError::Whole`].
    pub fn check_size(&self, name: &str, size: u64) -> Result<(), BtfError> {
        let ids = self.names.get(name.as_bytes()).into_iter().flatten();
        let ids = ids.filter_map(|name| self.structs.get(name)).flatten();
        let mut sizes = ids.filter_map(|&id| self.size(id)).peekable();
        if sizes.peek().is_none() {
            return Err(BtfError::NoStruct(name.to_owned()));
        }
        match sizes.find(|bytes| *bytes != size) {
            Some(bytes) => Err(BtfError::Whole(name.to_owned(), bytes, size)),
            None => Ok(()),
        }
    }

    /// The value of an enumeration's member.
    ///
    /// # Errors
    /// [`BtfError::Enumerator`].
    pub fn enumerator(&self, name: &'static str, member: &'static str) -> Result<i64, BtfError> {
        let value = || {
            let names = self.names.get(name.as_bytes())?;
            let id = names.iter().find_map(|name| self.enums.get(name))?;
            let head = self.types.get(*id)?;
            (0..head.count).find_map(|n| {
                let at = head.body + n * 8;
                let is_it = self.string(u32_at(&self.bytes, at)?) == member.as_bytes();
                is_it.then(|| u32_at(&self.bytes, at + 4)).flatten()
            })
        };
        let value = value().ok_or(BtfError::Enumerator(name, member))?;
        Ok(value.cast_signed().into())
    }

    /// The name of the structure that a function's parameter points to.
    pub fn points_to(&self, function: &str, parameter: usize) -> Option<&[u8]> {
        let names = self.names.get(function.as_bytes())?;
        let id = names.iter().find_map(|name| self.functions.get(name))?;
        let prototype = self.types.get(self.types.get(*id)?.size_or_type as usize)?;
        if prototype.kind != kind::FUNC_PROTO || parameter >= prototype.count {
            return None;
        }
        let pointer = u32_at(&self.bytes, prototype.body + parameter * 8 + 4)?;
        let pointer = self.types.get(pointer as usize).filter(|it| it.kind == kind::PTR)?;
        let structure = self.types.get(pointer.size_or_type as usize)?;
        (structure.kind == kind::STRUCT).then(|| self.string(structure.name))
    }

    /// Checks that a function exists and takes `parameters` parameters.
    ///
    /// # Errors
    /// [`BtfError::NoFunction`], [`BtfError::Parameters`].
    pub fn check_function(&self, name: &str, parameters: usize) -> Result<(), BtfError> {
        let missing = || BtfError::NoFunction(name.to_owned());
        let names = self.names.get(name.as_bytes()).ok_or_else(missing)?;
        let id = names.iter().find_map(|name| self.functions.get(name)).ok_or_else(missing)?;
        let prototype = self
            .types
            .get(*id)
            .and_then(|function| self.types.get(function.size_or_type as usize))
            .filter(|prototype| prototype.kind == kind::FUNC_PROTO)
            .ok_or(BtfError::Damaged)?;
        if prototype.count != parameters {
            return Err(BtfError::Parameters(name.to_owned(), prototype.count, parameters));
        }
        Ok(())
    }
}

/// Bytes behind a type's head.
fn body_bytes(head: &Type) -> Option<usize> {
    let each = match head.kind {
        kind::INT | kind::VAR | kind::DECL_TAG => return Some(4),
        kind::ARRAY => return Some(12),
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12,
        kind::ENUM | kind::FUNC_PROTO => 8,
        0..=kind::FLOAT | kind::TYPE_TAG => 0,
        _ => return None,
    };
    head.count.checked_mul(each)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

// By its path: the tests of the node machine have this file under another folder.
#[cfg(test)]
#[path = "btf/tests.rs"]
mod tests;
