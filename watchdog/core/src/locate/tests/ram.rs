// The only encoder of made-up kernels. It shares nothing with the decoders and uses nothing of the
// crate. The example in the crate's documentation and the seeds of the fuzz targets include this
// file.

/// Bytes of the made-up machine's memory.
pub(crate) const RAM: usize = 32 << 20;
pub(crate) const TEXT_SIZE: u64 = 0x1f_f123;
/// Bytes of a made-up kernel's image.
pub(crate) const IMAGE_SIZE: u64 = 0x80_0000;
const RODATA: u64 = 0x20_0000;
const BANNER: u64 = RODATA + 0x100;
pub(crate) const NAME: u64 = RODATA + 0x200;
const TABLES: u64 = RODATA + 0x1000;
const DATA: u64 = 0x50_0000;
const PAGE_TABLES: u64 = 0x60_0000;
pub(crate) const PAGE: u64 = 0x1000;

pub(crate) const NX: u64 = 1 << 63;
pub(crate) const RX: u64 = 0x121;
pub(crate) const RW: u64 = 0x163 | NX;
pub(crate) const LARGE: u64 = 0x80;
/// Bits of an entry that leads to a table.
pub(crate) const TABLE: u64 = 0x63;
pub(crate) const USER: u64 = 4;

/// Layouts of the kallsyms tables.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Layout {
    To63,
    From64,
    /// As `From64`, without CONFIG_KALLSYMS_ABSOLUTE_PERCPU.
    From615,
    PlaceRelative,
}

pub(crate) const LAYOUTS: [Layout; 4] =
    [Layout::To63, Layout::From64, Layout::From615, Layout::PlaceRelative];

/// The description of a made-up kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MadeUp {
    /// Physical and virtual address of its text.
    pub(crate) text: u64,
    pub(crate) virt: u64,
    /// Bytes of its text, which ends before its read-only data.
    pub(crate) text_size: u64,
    /// Address of its VMCOREINFO.
    pub(crate) note: u64,
    pub(crate) layout: Layout,
    pub(crate) levels: u8,
    /// CONFIG_KALLSYMS_ALL: the symbols of data as well.
    pub(crate) all_symbols: bool,
}

/// The kernel of most tests.
pub(crate) const FIRST: MadeUp = MadeUp {
    text: 0x40_0000,
    virt: 0xffff_ffff_9260_0000,
    text_size: TEXT_SIZE,
    note: 0x180_0000,
    layout: Layout::From64,
    levels: 5,
    all_symbols: true,
};

/// Another one beside it.
pub(crate) const SECOND: MadeUp =
    MadeUp { text: 0xe0_0000, virt: 0xffff_ffff_8a20_0000, note: 0x181_0000, ..FIRST };

impl MadeUp {
    fn table(self, n: u64) -> u64 {
        self.text + PAGE_TABLES + n * PAGE
    }

    pub(crate) fn root(self) -> u64 {
        self.table(0)
    }
    /// Bytes of all its page tables.
    #[cfg(test)]
    pub(crate) const TABLES: u64 = 9 * PAGE;

    fn level4(self) -> u64 {
        self.table(1)
    }
    pub(crate) fn level3(self) -> u64 {
        self.table(2)
    }
    pub(crate) fn level2(self) -> u64 {
        self.table(3)
    }
    pub(crate) fn level1(self) -> u64 {
        self.table(5)
    }
    /// The direct map's table of 1 GiB entries; `direct2` is the table of 2 MiB pages of the first.
    pub(crate) fn direct3(self) -> u64 {
        self.table(6)
    }
    pub(crate) fn direct2(self) -> u64 {
        self.table(7)
    }
    /// The entry of `level2` that maps the text.
    pub(crate) fn first_entry(self) -> u64 {
        (self.virt >> 21) & 511
    }
    pub(crate) fn tables(self) -> u64 {
        self.text + TABLES
    }
    pub(crate) fn jiffies(self) -> u64 {
        self.text + DATA + 0x100
    }
    pub(crate) fn resource(self) -> u64 {
        self.text + DATA + 0x200
    }
    /// Code that compares an address with the end of the text.
    pub(crate) fn compares(self) -> u64 {
        self.text + self.text_size - 0x200
    }
    pub(crate) fn banner(self) -> u64 {
        self.text + BANNER
    }

    /// Its VMCOREINFO, with a place and a root that may be false.
    pub(crate) fn note(self, virt: u64, text: u64, root: u64) -> String {
        let base = text.wrapping_sub(virt - 0xffff_ffff_8000_0000).cast_signed();
        let root = root.wrapping_sub(text).wrapping_add(virt);
        format!(
            "OSRELEASE=6.1.0-made-up\nBUILD-ID=c0ffee\nSYMBOL(init_top_pgt)={root:x}\n\
             SYMBOL(_stext)={virt:x}\nNUMBER(phys_base)={base}\n"
        )
    }
}

/// The bytes of a machine with made-up kernels.
pub(crate) struct Ram(pub(crate) Vec<u8>);

impl Ram {
    /// A machine without a kernel.
    pub(crate) fn empty() -> Self {
        Self(vec![0; RAM])
    }

    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) {
        self.0[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn entry(&mut self, table: u64, index: u64, value: u64) {
        self.write(table + index * 8, &value.to_le_bytes());
    }

    /// Writes a whole kernel into memory.
    pub(crate) fn add(&mut self, kernel: MadeUp) {
        let functions = (1..1500).map(|n| (format!("tfunction_{n}"), kernel.virt + n * 0x100));
        self.add_with(kernel, functions);
    }

    /// The same with given functions: name behind its type letter, virtual address.
    pub(crate) fn add_with(
        &mut self,
        kernel: MadeUp,
        functions: impl Iterator<Item = (String, u64)>,
    ) {
        self.write(kernel.banner(), b"Linux version 6.1.0-made-up (somebody) #1 SMP\n\0");
        self.write(kernel.note, kernel.note(kernel.virt, kernel.text, kernel.root()).as_bytes());
        self.write(kernel.text + NAME, b"Kernel code\0");
        let resource =
            [kernel.text, kernel.text + kernel.text_size - 1, kernel.virt + NAME, 0x8100_0200];
        self.write(kernel.resource(), &resource.map(u64::to_le_bytes).concat());
        let end = ((kernel.virt + kernel.text_size) as u32).to_le_bytes();
        let compare = [&[0x48, 0x81, 0xff][..], &end].concat();
        self.write(kernel.compares(), &compare.repeat(4));
        self.page_tables(kernel);
        self.symbols(kernel, functions);
    }

    /// Maps the text by 4 KiB pages, the rest of the image and the direct map by 2 MiB pages.
    fn page_tables(&mut self, kernel: MadeUp) {
        let upper = if kernel.levels == 5 { kernel.level4() } else { kernel.level3() };
        self.entry(kernel.root(), 511, upper | 0x67);
        self.entry(kernel.level4(), 511, kernel.level3() | 0x67);
        self.entry(kernel.level3(), 510, kernel.level2() | TABLE);
        self.entry(kernel.level3(), 511, (kernel.level2() + PAGE) | 0x67);
        let first = kernel.first_entry();
        self.entry(kernel.level2(), first, kernel.level1() | TABLE);
        for page in 0..512 {
            let rights = if page * PAGE < kernel.text_size { RX } else { RW };
            self.entry(kernel.level1(), page, (kernel.text + page * PAGE) | rights);
        }
        for n in 1..IMAGE_SIZE >> 21 {
            self.entry(kernel.level2(), first + n, (kernel.text + (n << 21)) | RW | LARGE);
        }
        let direct4 = kernel.table(8);
        let upper = if kernel.levels == 5 { direct4 } else { kernel.direct3() };
        self.entry(kernel.root(), 273, upper | TABLE);
        self.entry(direct4, 17, kernel.direct3() | TABLE);
        self.entry(kernel.direct3(), 0, kernel.direct2() | TABLE);
        for n in 0..(RAM as u64) >> 21 {
            let rights = if n << 21 == kernel.text { RW & !2 } else { RW };
            self.entry(kernel.direct2(), n, (n << 21) | rights | LARGE);
        }
    }

    /// Writes symbols as scripts/kallsyms.c lays them out, each letter a token of its own: those
    /// that locating requires, and `more`.
    pub(crate) fn symbols(&mut self, kernel: MadeUp, more: impl Iterator<Item = (String, u64)>) {
        let MadeUp { virt, text, text_size, layout, all_symbols, .. } = kernel;
        let mut symbols = vec![
            ("T_text".to_owned(), virt),
            ("T_stext".to_owned(), virt),
            ("T_etext".to_owned(), virt + text_size),
        ];
        if all_symbols {
            symbols.extend([
                ("Dlinux_banner".to_owned(), virt + BANNER),
                ("Djiffies_64".to_owned(), virt + DATA + 0x100),
                ("B_end".to_owned(), virt + IMAGE_SIZE),
            ]);
        }
        symbols.extend(more);
        symbols.sort_by_key(|(_, at)| *at);
        let mut names = Vec::new();
        let mut markers = Vec::new();
        for (n, (name, _)) in symbols.iter().enumerate() {
            if n % 256 == 0 {
                markers.extend((names.len() as u32).to_le_bytes());
            }
            // Since 6.1, a length of 128 or more takes two bytes.
            let (low, high) = (name.len() as u8 & 0x7f, (name.len() >> 7) as u8);
            names.extend(if high == 0 { vec![low] } else { vec![low | 0x80, high] });
            names.extend(name.bytes());
        }
        let tokens = tokens();
        let mut at = kernel.tables();
        let mut put = |bytes: &[u8]| {
            self.write(at, bytes);
            let place = at;
            at = (at + bytes.len() as u64).next_multiple_of(8);
            place
        };
        let relative = |base: u64| -> Vec<u8> {
            let offset = |(n, (_, sym)): (usize, &(String, u64))| match layout {
                Layout::PlaceRelative => {
                    let place = base + n as u64 * 4;
                    ((sym - virt + text) as i64 - place as i64) as i32
                }
                Layout::From615 => (sym - virt) as i32,
                // CONFIG_KALLSYMS_ABSOLUTE_PERCPU.
                _ => -1 - (sym - virt) as i32,
            };
            symbols.iter().enumerate().flat_map(|entry| offset(entry).to_le_bytes()).collect()
        };
        if layout == Layout::To63 {
            put(&relative(0));
            put(&virt.to_le_bytes());
        }
        put(&(symbols.len() as u32).to_le_bytes());
        put(&names);
        put(&markers);
        let behind = put(&tokens) + tokens.len() as u64;
        if layout != Layout::To63 {
            put(&relative(behind));
        }
        if matches!(layout, Layout::From64 | Layout::From615) {
            put(&virt.to_le_bytes());
        }
    }
}

/// The token table, each letter a token of its own, followed by its index.
pub(crate) fn tokens() -> Vec<u8> {
    let printable = |token: u8| if token.is_ascii_graphic() { token } else { b'?' };
    let table = (0..=255).flat_map(|token| [printable(token), 0]);
    table.chain((0..256_u16).flat_map(|token| (2 * token).to_le_bytes())).collect()
}
