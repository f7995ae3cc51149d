//! One unit of debug information: its structures, and the places of their fields.

use gimli::{
    Abbreviations, AttributeValue, DebugAbbrev, DebugAbbrevOffset, DebugStrOffsets,
    DebugStrOffsetsBase, DebuggingInformationEntry, DwTag, LittleEndian, UnitHeader, UnitOffset,
};

use super::sections::{Sections, Slice};

type Entry<'a> = DebuggingInformationEntry<Slice<'a>>;

/// Longest chain of types, and deepest nesting of anonymous members, that is followed.
const DEPTH: usize = 16;
/// Most entries and attributes that the lookup of one field reads. The largest structures have
/// some hundred members with about six attributes each.
const MAX_STEPS: usize = 1 << 18;
/// Bytes of a pointer that does not state its size.
const POINTER: u64 = 8;
/// Bytes before the first entry of `.debug_str_offsets`, for a unit that names no other place.
const STRING_OFFSETS: usize = 8;

/// A unit with its abbreviations.
pub(super) struct Unit<'a> {
    sections: Sections<'a>,
    header: UnitHeader<Slice<'a>>,
    abbreviations: Abbreviations,
    /// Where the unit's part of `.debug_str_offsets` begins.
    string_offsets: DebugStrOffsetsBase<usize>,
}

/// Where a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Bytes from the start of the structure.
    pub(super) offset: u64,
    /// Bytes of the field; `None` for an array.
    pub(super) size: Option<u64>,
    /// Its type.
    of: UnitOffset,
}

impl<'a> Unit<'a> {
    /// Reads a unit's abbreviations, which are at the start of `abbreviations`.
    pub(super) fn open(
        sections: Sections<'a>,
        header: UnitHeader<Slice<'a>>,
        abbreviations: &[u8],
    ) -> Option<Self> {
        let abbreviations = DebugAbbrev::new(abbreviations, LittleEndian);
        let abbreviations = abbreviations.abbreviations(DebugAbbrevOffset(0)).ok()?;
        let string_offsets = DebugStrOffsetsBase(STRING_OFFSETS);
        let mut unit = Self { sections, header, abbreviations, string_offsets };
        let root = unit.entry(unit.header.root_offset())?;
        if let Some(AttributeValue::DebugStrOffsetsBase(base)) =
            root.attr_value(gimli::DW_AT_str_offsets_base)
        {
            unit.string_offsets = base;
        }
        Some(unit)
    }

    /// Calls `visit` with each complete structure, and a function that compares its name. Ends when
    /// `visit` returns something, or at an entry that cannot be read.
    pub(super) fn structures<T>(
        &self,
        mut visit: impl FnMut(UnitOffset, &dyn Fn(&str) -> bool) -> Option<T>,
    ) -> Option<T> {
        let mut entries = self.header.entries_raw(&self.abbreviations, None).ok()?;
        while !entries.is_empty() {
            let at = entries.next_offset();
            let Some(kind) = entries.read_abbreviation().ok()? else { continue };
            if kind.tag() != gimli::DW_TAG_structure_type || !kind.has_children() {
                entries.skip_attributes(kind.attributes()).ok()?;
                continue;
            }
            let (mut name, mut is_whole) = (None, true);
            for form in kind.attributes() {
                let attribute = entries.read_attribute(*form).ok()?;
                match attribute.name() {
                    gimli::DW_AT_name => name = Some(attribute.value()),
                    gimli::DW_AT_declaration => is_whole = false,
                    _ => {}
                }
            }
            let Some(name) = name.filter(|_| is_whole) else { continue };
            if let Some(found) = visit(at, &|other| self.is_name(&name, other)) {
                return Some(found);
            }
        }
        None
    }

    /// The place of a field in the structure at `structure`. Dots in `path` join the fields of
    /// nested structures, anonymous ones are searched, and an array stands for its first element.
    /// `None` if the field is missing, or is a bit field.
    pub(super) fn place(&self, structure: UnitOffset, path: &str) -> Option<Place> {
        let mut walk = Walk { unit: self, steps: 0 };
        let mut place = Place { offset: 0, size: None, of: structure };
        for field in path.split('.') {
            let next = walk.field(place.of, field, 0)?;
            place = Place { offset: place.offset.checked_add(next.offset)?, ..next };
        }
        Some(place)
    }

    fn entry(&self, at: UnitOffset) -> Option<Entry<'a>> {
        let mut entries = self.header.entries_raw(&self.abbreviations, Some(at)).ok()?;
        let mut entry = Entry::null();
        entries.read_entry(&mut entry).ok()?.then_some(entry)
    }

    /// Whether an attribute is the string `name`. Reads no further than that, because the strings
    /// of a damaged file may never end.
    fn is_name(&self, value: &AttributeValue<Slice<'a>>, name: &str) -> bool {
        let is = |strings: &[u8], offset: usize| {
            let found = strings.get(offset..).and_then(|it| it.strip_prefix(name.as_bytes()));
            found.is_some_and(|rest| rest.first() == Some(&0))
        };
        match value {
            AttributeValue::String(found) => found.slice() == name.as_bytes(),
            AttributeValue::DebugStrRef(at) => is(self.sections.strings, at.0),
            AttributeValue::DebugLineStrRef(at) => is(self.sections.line_strings, at.0),
            AttributeValue::DebugStrOffsetsIndex(n) => {
                let offsets = Slice::new(self.sections.string_offsets, LittleEndian);
                let offsets = DebugStrOffsets::from(offsets);
                let format = self.header.format();
                let at = offsets.get_str_offset(format, self.string_offsets, *n);
                at.is_ok_and(|at| is(self.sections.strings, at.0))
            }
            _ => false,
        }
    }
}

/// One lookup of a field, and the entries and attributes that it has read.
struct Walk<'u, 'a> {
    unit: &'u Unit<'a>,
    steps: usize,
}

impl<'a> Walk<'_, 'a> {
    /// Counts what was read of an entry; `None` beyond the limit.
    fn step(&mut self, entry: &Entry<'a>) -> Option<()> {
        self.steps = self.steps.checked_add(entry.attrs().len())?.checked_add(1)?;
        (self.steps <= MAX_STEPS).then_some(())
    }

    /// Finds a field in a structure or union, or in an anonymous member of it.
    fn field(&mut self, of: UnitOffset, name: &str, depth: usize) -> Option<Place> {
        if depth > DEPTH {
            return None;
        }
        let of = self.element(of)?;
        let mut entries = self.unit.header.entries_raw(&self.unit.abbreviations, Some(of)).ok()?;
        let mut entry = Entry::null();
        entries.read_entry(&mut entry).ok()?;
        if !matches!(entry.tag(), gimli::DW_TAG_structure_type | gimli::DW_TAG_union_type) {
            return None;
        }
        while entries.next_depth() > 0 {
            entries.read_entry(&mut entry).ok()?;
            self.step(&entry)?;
            if entry.depth() != 1 || entry.tag() != gimli::DW_TAG_member {
                continue;
            }
            if let Some(place) = self.in_member(&entry, name, depth) {
                return Some(place);
            }
        }
        None
    }

    /// The field: this member itself, or one in it if it is anonymous.
    fn in_member(&mut self, member: &Entry<'a>, name: &str, depth: usize) -> Option<Place> {
        let of = reference(self.unit, member)?;
        let offset = match member.attr(gimli::DW_AT_data_member_location) {
            Some(offset) => offset.udata_value()?,
            // A member of a union.
            None => 0,
        };
        let Some(found) = member.attr_value(gimli::DW_AT_name) else {
            let inner = self.field(of, name, depth.checked_add(1)?)?;
            return Some(Place { offset: offset.checked_add(inner.offset)?, ..inner });
        };
        let is_bit_field =
            member.has_attr(gimli::DW_AT_bit_size) || member.has_attr(gimli::DW_AT_data_bit_offset);
        if is_bit_field || !self.unit.is_name(&found, name) {
            return None;
        }
        Some(Place { offset, size: self.size(of), of })
    }

    /// The type behind typedefs and qualifiers.
    fn resolve(&mut self, of: UnitOffset) -> Option<(UnitOffset, Entry<'a>)> {
        const TRANSPARENT: [DwTag; 5] = [
            gimli::DW_TAG_typedef,
            gimli::DW_TAG_const_type,
            gimli::DW_TAG_volatile_type,
            gimli::DW_TAG_restrict_type,
            gimli::DW_TAG_atomic_type,
        ];
        let mut of = of;
        for _ in 0..DEPTH {
            let entry = self.unit.entry(of)?;
            self.step(&entry)?;
            if !TRANSPARENT.contains(&entry.tag()) {
                return Some((of, entry));
            }
            of = reference(self.unit, &entry)?;
        }
        None
    }

    /// The type behind typedefs and qualifiers; for an array, the type of its elements.
    fn element(&mut self, of: UnitOffset) -> Option<UnitOffset> {
        let (of, entry) = self.resolve(of)?;
        if entry.tag() != gimli::DW_TAG_array_type {
            return Some(of);
        }
        let (of, _) = self.resolve(reference(self.unit, &entry)?)?;
        Some(of)
    }

    /// The bytes of a type that can be read as one field.
    fn size(&mut self, of: UnitOffset) -> Option<u64> {
        let (_, entry) = self.resolve(of)?;
        let stated = entry.attr(gimli::DW_AT_byte_size).and_then(|size| size.udata_value());
        match entry.tag() {
            gimli::DW_TAG_pointer_type => Some(stated.unwrap_or(POINTER)),
            gimli::DW_TAG_base_type
            | gimli::DW_TAG_enumeration_type
            | gimli::DW_TAG_structure_type
            | gimli::DW_TAG_union_type => stated,
            _ => None,
        }
    }
}

/// The type that an entry refers to, within its unit.
fn reference(unit: &Unit<'_>, entry: &Entry<'_>) -> Option<UnitOffset> {
    match entry.attr_value(gimli::DW_AT_type)? {
        AttributeValue::UnitRef(offset) => Some(offset),
        AttributeValue::DebugInfoRef(offset) => offset.to_unit_offset(&unit.header),
        _ => None,
    }
}
