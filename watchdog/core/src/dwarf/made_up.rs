//! Debug information for tests, as a compiler writes it.

use gimli::write::{
    AttributeValue, DwarfUnit, EndianVec, LineProgram, Sections as Written, UnitEntryId,
};
use gimli::{
    DW_AT_bit_size, DW_AT_byte_size, DW_AT_data_member_location, DW_AT_declaration, DW_AT_encoding,
    DW_AT_name, DW_AT_type, DW_ATE_unsigned, DW_TAG_array_type, DW_TAG_base_type, DW_TAG_member,
    DW_TAG_pointer_type, DW_TAG_structure_type, DW_TAG_typedef, DW_TAG_union_type, DwTag, Encoding,
    Format, LittleEndian, SectionId,
};

use super::sections::Sections;

/// A unit that is written.
pub(crate) struct MadeUp(DwarfUnit);

/// The sections of a unit that was written.
#[derive(Default)]
pub(crate) struct Content {
    pub(crate) info: Vec<u8>,
    pub(crate) abbreviations: Vec<u8>,
    pub(crate) strings: Vec<u8>,
}

impl Content {
    pub(crate) fn sections(&self) -> Sections<'_> {
        Sections {
            info: &self.info,
            abbreviations: &self.abbreviations,
            strings: &self.strings,
            ..Sections::default()
        }
    }

    /// The names of the sections in an ELF file, with their content.
    pub(crate) fn named(&self) -> [(&'static str, &[u8]); 3] {
        [
            (".debug_info", &self.info),
            (".debug_abbrev", &self.abbreviations),
            (".debug_str", &self.strings),
        ]
    }
}

impl MadeUp {
    pub(crate) fn new(version: u16) -> Self {
        let encoding = Encoding { format: Format::Dwarf32, version, address_size: 8 };
        let mut unit = DwarfUnit::new(encoding);
        unit.unit.line_program = LineProgram::none();
        Self(unit)
    }

    fn add(&mut self, parent: Option<UnitEntryId>, tag: DwTag, name: &str) -> UnitEntryId {
        let unit = &mut self.0.unit;
        let id = unit.add(parent.unwrap_or(unit.root()), tag);
        if !name.is_empty() {
            let name = AttributeValue::StringRef(self.0.strings.add(name));
            self.0.unit.get_mut(id).set(DW_AT_name, name);
        }
        id
    }

    /// A type of `size` bytes that consists of nothing.
    pub(crate) fn number(&mut self, size: u8) -> UnitEntryId {
        let id = self.add(None, DW_TAG_base_type, "number");
        let entry = self.0.unit.get_mut(id);
        entry.set(DW_AT_encoding, AttributeValue::Encoding(DW_ATE_unsigned));
        entry.set(DW_AT_byte_size, AttributeValue::Udata(size.into()));
        id
    }

    /// A type that refers to another one.
    fn refer(&mut self, tag: DwTag, name: &str, to: UnitEntryId) -> UnitEntryId {
        let id = self.add(None, tag, name);
        self.0.unit.get_mut(id).set(DW_AT_type, AttributeValue::UnitRef(to));
        id
    }

    pub(crate) fn pointer(&mut self, to: UnitEntryId) -> UnitEntryId {
        let id = self.refer(DW_TAG_pointer_type, "", to);
        self.0.unit.get_mut(id).set(DW_AT_byte_size, AttributeValue::Udata(8));
        id
    }

    pub(crate) fn typedef(&mut self, to: UnitEntryId) -> UnitEntryId {
        self.refer(DW_TAG_typedef, "other_t", to)
    }

    pub(crate) fn array(&mut self, of: UnitEntryId) -> UnitEntryId {
        self.refer(DW_TAG_array_type, "", of)
    }

    /// A structure with members: name, offset, type.
    pub(crate) fn structure(
        &mut self,
        name: &str,
        members: &[(&str, u64, UnitEntryId)],
    ) -> UnitEntryId {
        let id = self.add(None, DW_TAG_structure_type, name);
        for (name, offset, of) in members {
            self.add_member(id, name, *offset, *of);
        }
        id
    }

    /// Adds a member to a structure.
    pub(crate) fn add_member(&mut self, to: UnitEntryId, name: &str, at: u64, of: UnitEntryId) {
        let member = self.member(to, name, of);
        let offset = AttributeValue::Udata(at);
        self.0.unit.get_mut(member).set(DW_AT_data_member_location, offset);
    }

    /// A union with members, which have no offset.
    pub(crate) fn either(&mut self, members: &[(&str, UnitEntryId)]) -> UnitEntryId {
        let id = self.add(None, DW_TAG_union_type, "");
        for (name, of) in members {
            self.member(id, name, *of);
        }
        id
    }

    /// A structure that is only declared.
    pub(crate) fn declared(&mut self, name: &str) -> UnitEntryId {
        let id = self.add(None, DW_TAG_structure_type, name);
        self.0.unit.get_mut(id).set(DW_AT_declaration, AttributeValue::Flag(true));
        id
    }

    fn member(&mut self, of: UnitEntryId, name: &str, is: UnitEntryId) -> UnitEntryId {
        let id = self.add(Some(of), DW_TAG_member, name);
        self.0.unit.get_mut(id).set(DW_AT_type, AttributeValue::UnitRef(is));
        id
    }

    /// Adds a bit field to a structure.
    pub(crate) fn bit_field(&mut self, of: UnitEntryId, name: &str, is: UnitEntryId) {
        let id = self.member(of, name, is);
        self.0.unit.get_mut(id).set(DW_AT_bit_size, AttributeValue::Udata(1));
    }

    pub(crate) fn write(mut self) -> Content {
        let mut sections = Written::new(EndianVec::new(LittleEndian));
        self.0.write(&mut sections).unwrap();
        let bytes = |id: SectionId| {
            sections.get(id).map(|section| section.slice().to_vec()).unwrap_or_default()
        };
        Content {
            info: bytes(SectionId::DebugInfo),
            abbreviations: bytes(SectionId::DebugAbbrev),
            strings: bytes(SectionId::DebugStr),
        }
    }
}

/// A unit that describes `struct kprobe`, and a part of `struct module` of 6.4 and later. In
/// between is what does not count: a declaration, a structure of another name, a bit field.
pub(crate) fn content(version: u16) -> Content {
    let mut made = MadeUp::new(version);
    let (word, half, byte) = (made.number(8), made.number(4), made.number(1));
    made.declared("module");
    let pointer = made.pointer(word);
    let (named, opcode) = (made.typedef(pointer), made.typedef(byte));
    let link = made.structure("list_head", &[("next", 0, pointer), ("prev", 8, pointer)]);
    let inner = made.structure("", &[("addr", 8, named), ("offset", 16, half)]);
    let either = made.either(&[("", inner), ("flags", half)]);
    made.structure("kprobes", &[("addr", 1, named)]);
    let kprobe = [
        ("hlist", 0, link),
        ("list", 16, link),
        ("", 32, either),
        ("pre_handler", 64, named),
        ("opcode", 80, opcode),
    ];
    made.structure("kprobe", &kprobe);
    let memory = made.structure("module_memory", &[("base", 0, pointer), ("size", 8, half)]);
    let (memories, name) = (made.array(memory), made.array(byte));
    let module = [("list", 8, link), ("name", 24, name), ("mem", 320, memories)];
    let module = made.structure("module", &module);
    made.bit_field(module, "kallsyms", pointer);
    made.write()
}
