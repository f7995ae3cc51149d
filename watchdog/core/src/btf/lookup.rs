//! Lookups in type information.

use super::{ANY_SIZE, Btf, BtfError, Type, kind};

/// Longest chain of types, and deepest nesting of anonymous members, that a lookup follows.
const DEPTH: usize = 16;
/// Most members that one lookup examines, including those of anonymous members. The largest
/// structures of a distribution's kernel have some hundred; nested members can be any number.
const MAX_STEPS: usize = 1 << 16;

/// A field's offset in bytes from the start of its structure, its size in bytes, and its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    offset: u64,
    size: u64,
    of: usize,
}

/// `struct btf_member`.
struct Member {
    name: u32,
    of: usize,
    /// Offset from the start of the structure, in bits.
    bits: u64,
    is_bit_field: bool,
}

impl Btf {
    /// The offset of a field of `size` bytes, in bytes from the start of the structure. Dots join
    /// the fields of nested structures (`f_path.dentry`). Anonymous ones are searched, and an array
    /// stands for its first element.
    ///
    /// # Errors
    /// [`BtfError`] if the field is missing, ambiguous or of another size, or takes too long to
    /// find.
    pub fn offset(&self, name: &str, field: &str, size: u64) -> Result<u32, BtfError> {
        let error = |make: fn(String, String) -> BtfError| make(name.to_owned(), field.to_owned());
        let mut walk = Walk { btf: self, steps: 0 };
        let (mut is_there, mut place) = (false, None);
        for id in self.all(name, kind::STRUCT) {
            is_there = true;
            let found = walk.path(id, field);
            if walk.is_over() {
                return Err(BtfError::TooDeep(name.to_owned()));
            }
            let Some(found) = found else { continue };
            let alike = |place: Place| (place.offset, place.size) == (found.offset, found.size);
            if !place.is_none_or(alike) {
                return Err(error(BtfError::Ambiguous));
            }
            place.get_or_insert(found);
        }
        if !is_there {
            return Err(BtfError::NoStruct(name.to_owned()));
        }
        let place = place.ok_or_else(|| error(BtfError::NoField))?;
        if size != ANY_SIZE && place.size != size {
            return Err(BtfError::Size(name.to_owned(), field.to_owned(), place.size, size));
        }
        u32::try_from(place.offset).map_err(|_| error(BtfError::Ambiguous))
    }

    /// The type number of a structure, if exactly one has this name.
    #[must_use]
    pub fn structure(&self, name: &str) -> Option<u32> {
        only(self.all(name, kind::STRUCT))
    }

    /// The type number of a function, if exactly one has this name.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<u32> {
        only(self.all(name, kind::FUNC))
    }

    /// Checks that every structure of this name has `size` bytes.
    ///
    /// # Errors
    /// [`BtfError::NoStruct`], [`BtfError::Whole`].
    pub fn check_size(&self, name: &str, size: u64) -> Result<(), BtfError> {
        let mut sizes = self.all(name, kind::STRUCT).filter_map(|id| self.size(id)).peekable();
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
        let value = |head: &Type, n: usize| {
            // `struct btf_enum`: name, value.
            let at = n.checked_mul(2)?;
            let is_it = self.is_name(self.word(head, at)?, member.as_bytes());
            is_it.then(|| self.word(head, at.checked_add(1)?)).flatten()
        };
        let found = self.all(name, kind::ENUM).find_map(|id| {
            let head = self.types.get(id)?;
            (0..head.count).find_map(|n| value(head, n))
        });
        let value = found.ok_or(BtfError::Enumerator(name, member))?;
        Ok(value.cast_signed().into())
    }

    /// The name of the structure that a function's parameter points to.
    #[must_use]
    pub fn points_to(&self, function: &str, parameter: usize) -> Option<&[u8]> {
        let prototype = self.prototype(function)?;
        if parameter >= prototype.count {
            return None;
        }
        // `struct btf_param`: name, type.
        let pointer = self.word(prototype, parameter.checked_mul(2)?.checked_add(1)?)?;
        let pointer = self.types.get(pointer as usize).filter(|it| it.kind == kind::PTR)?;
        let structure = self.types.get(pointer.size_or_type as usize)?;
        (structure.kind == kind::STRUCT).then(|| self.name(structure.name)).flatten()
    }

    /// Checks that a function exists and takes `parameters` parameters.
    ///
    /// # Errors
    /// [`BtfError::NoFunction`], [`BtfError::Parameters`].
    pub fn check_function(&self, name: &str, parameters: usize) -> Result<(), BtfError> {
        if self.all(name, kind::FUNC).next().is_none() {
            return Err(BtfError::NoFunction(name.to_owned()));
        }
        let prototype = self.prototype(name).ok_or(BtfError::Damaged)?;
        if prototype.count != parameters {
            return Err(BtfError::Parameters(name.to_owned(), prototype.count, parameters));
        }
        Ok(())
    }

    /// The prototype of the first function of this name.
    fn prototype(&self, function: &str) -> Option<&Type> {
        let id = self.all(function, kind::FUNC).next()?;
        let prototype = self.types.get(self.types.get(id)?.size_or_type as usize)?;
        (prototype.kind == kind::FUNC_PROTO).then_some(prototype)
    }

    fn member(&self, head: &Type, n: usize) -> Option<Member> {
        let word = |field: usize| self.word(head, n.checked_mul(3)?.checked_add(field)?);
        let (name, of, bits) = (word(0)?, word(1)? as usize, word(2)?);
        // If the flag is set, the upper eight bits are the size of a bit field.
        let (size, bits) = if head.flag { (bits >> 24, bits & 0x00ff_ffff) } else { (0, bits) };
        Some(Member { name, of, bits: bits.into(), is_bit_field: size != 0 })
    }

    /// The type behind typedefs and qualifiers.
    fn resolve(&self, id: usize) -> Option<usize> {
        let mut id = id;
        for _ in 0..DEPTH {
            let head = self.types.get(id)?;
            match head.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = head.size_or_type as usize;
                }
                _ => return Some(id),
            }
        }
        None
    }

    /// The type behind typedefs and qualifiers; for an array, the type of its elements.
    fn element(&self, id: usize) -> Option<usize> {
        let id = self.resolve(id)?;
        let head = self.types.get(id)?;
        if head.kind != kind::ARRAY {
            return Some(id);
        }
        self.resolve(self.word(head, 0)? as usize)
    }

    /// The bytes of a type that can be read as one field.
    fn size(&self, id: usize) -> Option<u64> {
        let head = self.types.get(self.resolve(id)?)?;
        match head.kind {
            kind::PTR => Some(8),
            kind::INT | kind::ENUM | kind::ENUM64 | kind::STRUCT | kind::UNION => {
                Some(head.size_or_type.into())
            }
            kind::ARRAY => {
                // `struct btf_array`: type of the elements, of the index, number of elements.
                let (element, count) = (self.word(head, 0)? as usize, self.word(head, 2)?);
                // No field that is read is an array of arrays.
                let element = self.types.get(self.resolve(element)?)?;
                let size = if element.kind == kind::PTR { 8 } else { element.size_or_type };
                (element.kind != kind::ARRAY)
                    .then(|| u64::from(size).checked_mul(count.into()))
                    .flatten()
            }
            _ => None,
        }
    }
}

/// One lookup of a field, and the number of members that it has examined.
struct Walk<'a> {
    btf: &'a Btf,
    steps: usize,
}

impl Walk<'_> {
    fn is_over(&self) -> bool {
        self.steps > MAX_STEPS
    }

    /// Counts one more examined member or structure; `None` if the limit is exceeded.
    fn step(&mut self) -> Option<()> {
        self.steps = self.steps.checked_add(1)?;
        (!self.is_over()).then_some(())
    }

    /// Follows a dotted path from a structure.
    fn path(&mut self, id: usize, path: &str) -> Option<Place> {
        self.step()?;
        let mut place = Place { offset: 0, size: 0, of: id };
        for field in path.split('.') {
            let next = self.field(self.btf.element(place.of)?, field.as_bytes(), 0)?;
            place = Place { offset: place.offset.checked_add(next.offset)?, ..next };
        }
        Some(place)
    }

    /// Finds a field in a structure or union, or in an anonymous member of it.
    fn field(&mut self, id: usize, name: &[u8], depth: usize) -> Option<Place> {
        let head = *self.btf.types.get(id)?;
        if depth > DEPTH || !matches!(head.kind, kind::STRUCT | kind::UNION) {
            return None;
        }
        for n in 0..head.count {
            self.step()?;
            if let Some(place) = self.in_member(&self.btf.member(&head, n)?, name, depth) {
                return Some(place);
            }
        }
        None
    }

    /// The field: this member itself, or one in it if it is anonymous.
    fn in_member(&mut self, member: &Member, name: &[u8], depth: usize) -> Option<Place> {
        let offset = member.bits / 8;
        if self.btf.is_name(member.name, name) {
            let is_whole = !member.is_bit_field && member.bits.is_multiple_of(8);
            return is_whole.then_some(Place {
                offset,
                size: self.btf.size(member.of)?,
                of: member.of,
            });
        }
        if !self.btf.is_name(member.name, b"") {
            return None;
        }
        let inner = self.field(self.btf.resolve(member.of)?, name, depth.checked_add(1)?)?;
        Some(Place { offset: offset.checked_add(inner.offset)?, ..inner })
    }
}

/// The only number in `ids`; `None` if there are none or several.
fn only(mut ids: impl Iterator<Item = usize>) -> Option<u32> {
    let id = ids.next().filter(|_| ids.next().is_none())?;
    u32::try_from(id).ok()
}
