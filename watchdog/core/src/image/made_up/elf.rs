//! A kernel's ELF file, with what an image must have. The seeds of a fuzz target contain it too.

/// The link address of the made-up kernel.
pub(crate) const TEXT: u64 = 0xffff_ffff_8100_0000;
pub(crate) const TEXT_SIZE: u64 = 0x2345;
pub(crate) const RODATA: u64 = TEXT + 0x4000;
pub(crate) const NOTES: u64 = TEXT + 0x5000;
pub(crate) const BANNER: &str = "Linux version 6.12.1-made-up (a@b) (gcc 14) #1 SMP PREEMPT";
pub(crate) const BUILD_ID: [u8; 20] = *b"\xeb\x4fmade-up build id!!";

const CONTENT_AT: u64 = 0x1000;

/// A section: the fields of its header, and its bytes in the file.
#[derive(Clone)]
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) kind: u32,
    pub(crate) flags: u64,
    pub(crate) addr: u64,
    pub(crate) link: u32,
    pub(crate) info: u32,
    pub(crate) bytes: Vec<u8>,
    /// Added to the size in its header.
    pub(crate) oversize: u64,
}

/// An ELF file with one segment, from `.text` on.
#[derive(Clone)]
pub(crate) struct Elf {
    pub(crate) class: u8,
    pub(crate) order: u8,
    pub(crate) kind: u16,
    pub(crate) machine: u16,
    pub(crate) sections: Vec<Section>,
    /// An address and a distance: sections from that address on form a segment of their own, which
    /// is loaded so much further up.
    pub(crate) parted: Option<(u64, u64)>,
}

/// A note: name with its NUL, type, content.
pub(crate) fn note(name: &[u8], kind: u32, content: &[u8]) -> Vec<u8> {
    let padded = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let word = |number: usize| u32::try_from(number).unwrap().to_le_bytes().to_vec();
    let header = [word(name.len()), word(content.len()), kind.to_le_bytes().to_vec()].concat();
    [header, padded(name), padded(content)].concat()
}

impl Elf {
    /// A sound kernel.
    pub(crate) fn kernel() -> Self {
        let section = |name, kind, flags, addr, bytes| Section {
            name,
            kind,
            flags,
            addr,
            bytes,
            link: 0,
            info: 0,
            oversize: 0,
        };
        let text = (0..TEXT_SIZE).map(|at| (at * 7 % 251) as u8).collect();
        let rodata =
            format!("%s version %s\n\0{}\n\0", BANNER.replace("#1", "#")) + BANNER + "\n\0";
        let notes = [
            note(b"Xen\0", 3, &[0; 8]),
            note(b"Linux\0", 0x101, b"6.12.1-made-up\0"),
            note(b"GNU\0", 3, &BUILD_ID),
            note(b"GNU\0", 1, &[0; 16]),
        ];
        Self {
            class: 2,
            order: 1,
            kind: 2,
            machine: 62,
            sections: vec![
                section(".text", 1, 6, TEXT, text),
                section(".rodata", 1, 3, RODATA, rodata.into_bytes()),
                section(".notes", 7, 2, NOTES, notes.concat()),
            ],
            parted: None,
        }
    }

    pub(crate) fn section(&mut self, name: &str) -> &mut Section {
        self.sections.iter_mut().find(|section| section.name == name).unwrap()
    }

    /// Adds global symbols, each given by its name and value.
    pub(crate) fn with_symbols(mut self, symbols: &[(&str, u64)]) -> Self {
        let mut names = vec![0];
        let mut table = vec![0; 24];
        for (name, value) in symbols {
            table.extend(u32::try_from(names.len()).unwrap().to_le_bytes());
            // Those below the text belong to no section.
            table.extend(if *value < TEXT { [0x10, 0, 0xf1, 0xff] } else { [0x10, 0, 1, 0] });
            table.extend(value.to_le_bytes());
            table.extend([0; 8]);
            names.extend([name.as_bytes(), b"\0"].concat());
        }
        let link = u32::try_from(self.sections.len()).unwrap() + 2;
        let none = Section { addr: 0, flags: 0, oversize: 0, ..self.sections[0].clone() };
        self.sections.push(Section {
            name: ".symtab",
            kind: 2,
            link,
            bytes: table,
            ..none.clone()
        });
        self.sections.push(Section { name: ".strtab", kind: 3, bytes: names, ..none });
        self
    }

    /// Adds a section.
    pub(crate) fn with_section(
        mut self,
        name: &'static str,
        kind: u32,
        flags: u64,
        addr: u64,
        bytes: Vec<u8>,
    ) -> Self {
        self.sections.push(Section {
            name,
            kind,
            flags,
            addr,
            link: 0,
            info: 0,
            bytes,
            oversize: 0,
        });
        self
    }

    /// The number of a section's header.
    fn number(&self, name: &str) -> u32 {
        let at = self.sections.iter().position(|section| section.name == name).unwrap();
        u32::try_from(at).unwrap() + 1
    }

    /// Adds a symbol that belongs to a section, to the symbols of [`Self::with_symbols`].
    pub(crate) fn with_symbol_in(mut self, name: &str, value: u64, section: &str) -> Self {
        let index = u16::try_from(self.number(section)).unwrap();
        let names = &mut self.section(".strtab").bytes;
        let name_at = u32::try_from(names.len()).unwrap();
        names.extend([name.as_bytes(), b"\0"].concat());
        let table = &mut self.section(".symtab").bytes;
        table.extend(name_at.to_le_bytes());
        table.extend([0x10, 0]);
        table.extend(index.to_le_bytes());
        table.extend([value, 0].map(u64::to_le_bytes).concat());
        self
    }

    /// Adds relocations that apply to a section: place, type, and a symbol by its name.
    pub(crate) fn with_relocations(
        mut self,
        section: &str,
        relocations: &[(u64, u32, &str)],
    ) -> Self {
        let (info, link) = (self.number(section), self.number(".symtab"));
        let names = self.section(".strtab").bytes.clone();
        let symbols = self.section(".symtab").bytes.clone();
        let mut bytes = Vec::new();
        for (place, kind, symbol) in relocations {
            let wanted = [symbol.as_bytes(), b"\0"].concat();
            let number = symbols.chunks(24).position(|entry| {
                let name = u32::from_le_bytes(entry[..4].try_into().unwrap());
                names[usize::try_from(name).unwrap()..].starts_with(&wanted)
            });
            let number = number.unwrap() as u64;
            bytes.extend(
                [*place, number << 32 | u64::from(*kind), 0].map(u64::to_le_bytes).concat(),
            );
        }
        self.sections.push(Section {
            name: ".rela",
            kind: 4,
            flags: 0,
            addr: 0,
            link,
            info,
            bytes,
            oversize: 0,
        });
        self
    }

    /// The file: headers, content at its distance from `.text`, names, section headers.
    pub(crate) fn build(&self) -> Vec<u8> {
        let mut file = vec![0; 0x8000];
        let mut names = b"\0.shstrtab\0".to_vec();
        let mut headers = vec![0; 64];
        for section in &self.sections {
            let at = match section.addr.checked_sub(TEXT) {
                Some(distance) => CONTENT_AT + distance,
                None => file.len().next_multiple_of(8) as u64,
            };
            place(&mut file, at, &section.bytes);
            let size = section.bytes.len() as u64 + section.oversize;
            headers.extend(u32::try_from(names.len()).unwrap().to_le_bytes());
            headers.extend(section.kind.to_le_bytes());
            headers.extend([section.flags, section.addr, at, size].map(u64::to_le_bytes).concat());
            headers.extend([section.link, section.info].map(u32::to_le_bytes).concat());
            headers.extend([1, 0].map(u64::to_le_bytes).concat());
            names.extend([section.name.as_bytes(), b"\0"].concat());
        }
        let names_at = file.len() as u64;
        headers.extend([1, 3].map(u32::to_le_bytes).concat());
        headers.extend([0, 0, names_at, names.len() as u64].map(u64::to_le_bytes).concat());
        headers.extend([0; 24]);
        file.extend(names);
        let headers_at = file.len().next_multiple_of(8) as u64;
        place(&mut file, headers_at, &headers);
        self.write_header(&mut file, headers_at);
        self.write_segments(&mut file);
        file
    }

    fn write_header(&self, file: &mut Vec<u8>, sections_at: u64) {
        let count = u16::try_from(self.sections.len()).unwrap();
        let mut header = [b"\x7fELF", &[self.class, self.order, 1][..], &[0; 9]].concat();
        header.extend([self.kind, self.machine].map(u16::to_le_bytes).concat());
        header.extend(1_u32.to_le_bytes());
        header.extend([0, 64, sections_at].map(u64::to_le_bytes).concat());
        header.extend([0; 4]);
        header.extend([64, 56, 2, 64, count + 2, count + 1].map(u16::to_le_bytes).concat());
        place(file, 0, &header);
    }

    fn write_segments(&self, file: &mut Vec<u8>) {
        let (border, moved) = self.parted.unwrap_or((TEXT + 0x6000, 0));
        let mut segments = Vec::new();
        for (start, end, moved) in [(TEXT, border, 0), (border, TEXT + 0x7000, moved)] {
            segments.extend([1, 5].map(u32::to_le_bytes).concat());
            let physical = start - 0xffff_ffff_8000_0000 + moved;
            let fields = [start - TEXT + CONTENT_AT, start, physical, end - start, end - start, 0];
            segments.extend(fields.map(u64::to_le_bytes).concat());
        }
        place(file, 64, &segments);
    }
}

/// Writes `bytes` at an offset, and extends the file if necessary.
pub(crate) fn place(file: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let at = usize::try_from(at).unwrap();
    file.resize(file.len().max(at + bytes.len()), 0);
    file[at..at + bytes.len()].copy_from_slice(bytes);
}
