//! Tests of ELF cores.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

/// One program header of a made-up core.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) virt: u64,
    pub(super) phys: u64,
    pub(super) offset: u64,
    pub(super) in_file: u64,
    pub(super) in_memory: u64,
}

impl Load {
    /// `size` bytes of memory at `phys`, found at `offset`.
    pub(super) fn new(phys: u64, offset: u64, size: u64) -> Self {
        Self { virt: 0, phys, offset, in_file: size, in_memory: size }
    }
}

/// Bytes of the file header and of one program header.
const FILE_HEADER: u64 = 64;
const PROGRAM_HEADER: u64 = 56;

/// Offset of the data in a core with so many headers.
pub(super) fn data_offset(headers: usize) -> u64 {
    FILE_HEADER + PROGRAM_HEADER * headers as u64
}

/// A core of these headers, followed by `data`.
pub(super) fn core(loads: &[Load], data: &[u8]) -> Vec<u8> {
    let mut bytes = file_header(u16::try_from(loads.len()).unwrap(), FILE_HEADER);
    loads.iter().for_each(|load| bytes.extend(program_header(load)));
    bytes.extend(data);
    bytes
}

/// The file header of a core (include/uapi/linux/elf.h, `Elf64_Ehdr`).
fn file_header(count: u16, table: u64) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    bytes.extend(4_u16.to_le_bytes()); // ET_CORE
    bytes.extend(62_u16.to_le_bytes()); // EM_X86_64
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    bytes.extend(table.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    bytes.extend(0_u32.to_le_bytes());
    for half in [64, 56, count, 64, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    bytes
}

/// A program header (`Elf64_Phdr`), `PT_LOAD`.
fn program_header(load: &Load) -> Vec<u8> {
    let mut bytes = [1_u32.to_le_bytes(), 7_u32.to_le_bytes()].concat();
    for word in [load.offset, load.virt, load.phys, load.in_file, load.in_memory, 4096] {
        bytes.extend(word.to_le_bytes());
    }
    bytes
}

/// What a core must serve, by its description alone. The first header that has a byte of the file
/// for an address serves it.
fn expected(loads: &[Load], bytes: &[u8]) -> BTreeMap<u64, u8> {
    let mut served = BTreeMap::new();
    for load in loads.iter().filter(|load| load.phys != u64::MAX) {
        for n in 0..load.in_file.min(load.in_memory) {
            let from = load.offset.checked_add(n).and_then(|at| usize::try_from(at).ok());
            if let Some(byte) = from.and_then(|from| bytes.get(from)) {
                served.entry(load.phys + n).or_insert(*byte);
            }
        }
    }
    served
}

fn open(bytes: &[u8]) -> Result<Dump, DumpError> {
    Dump::open_elf(file(bytes).path())
}

/// Check random cores against a map of every byte, which is built from their description. Segments
/// may overlap, repeat, be empty, reach past the end of the file or have no physical address.
#[test]
fn random_cores_serve_what_they_describe() {
    let mut random = StdRng::seed_from_u64(0x0065_6c66);
    let mut opened = 0;
    for _ in 0..300 {
        let count = random.random_range(1..7);
        let begin = data_offset(count);
        let data: Vec<u8> = (0..96).map(|_| random.random()).collect();
        let mut loads: Vec<Load> = Vec::new();
        for _ in 0..count {
            let mut load = Load::new(
                random.random_range(0..64),
                begin + random.random_range(0..110_u64),
                random.random_range(0..24),
            );
            match random.random_range(0..8) {
                0 => load.in_memory += 8,
                1 => load.in_memory /= 2,
                2 => load.phys = u64::MAX,
                3 if !loads.is_empty() => load = loads[random.random_range(0..loads.len())].clone(),
                _ => {}
            }
            loads.push(load);
        }
        let bytes = core(&loads, &data);
        let expected = expected(&loads, &bytes);
        match open(&bytes) {
            Ok(core) => {
                opened += 1;
                serves(&core, &expected, 100);
            }
            Err(DumpError::Empty) => assert!(expected.is_empty(), "{loads:?}"),
            Err(error) => panic!("{error}: {loads:?}"),
        }
    }
    assert!(opened > 250, "only {opened} cores held anything");
}

/// Check a core that ends at every possible length. A core that ends within its headers is refused.
/// One that ends behind them serves what it holds, and reports the rest as cut short.
#[test]
fn every_truncation() {
    let loads = [Load::new(0x10, data_offset(2), 8), Load::new(0x20, data_offset(2) + 8, 8)];
    let bytes = core(&loads, b"firstone2ndsegmt");
    for length in 0..=bytes.len() {
        let cut = &bytes[..length];
        let headers = usize::try_from(data_offset(2)).unwrap();
        let opened = open(cut);
        if length < headers {
            assert!(matches!(opened, Err(DumpError::NotElf | DumpError::HeadersCut)), "{length}");
            continue;
        }
        if length == headers {
            assert!(matches!(opened, Err(DumpError::Empty)));
            continue;
        }
        let core = opened.unwrap();
        serves(&core, &expected(&loads, cut), 0x30);
        assert_eq!(core.remark().is_some(), length < bytes.len());
        let last = PhysRange::with_size(PhysAddr(0x27), 1).unwrap();
        let refused = core.refusal(&last).map(|refusal| refusal.reason);
        assert_eq!(matches!(refused, Some(Reason::CutShort)), length < bytes.len(), "{length}");
    }
}

/// Check the reasons for holes, for filtered memory, and for memory outside the image.
#[test]
fn reasons() {
    let mut filtered = Load::new(0x1000, data_offset(2), 4);
    filtered.in_memory = 0x1000;
    let core = open(&core(&[filtered, Load::new(0x3000, data_offset(2), 4)], b"text")).unwrap();
    let reason = |range: &str| core.refusal(&range.parse().unwrap()).map(|it| it.to_string());
    assert_eq!(reason("0x1000..0x1004"), None);
    for (range, part, sentence) in [
        ("0x1000..0x1800", "0x1004..0x1800", "hole"),
        ("0x1000..0x4000", "0x1004..0x3000", "hole"),
        ("0x3000..0x4000", "0x3004..0x4000", "not in the image, which holds 0x1000..0x3004"),
        ("0x0..0x4000", "0x0..0x1000", "not in the image"),
    ] {
        let said = reason(range).unwrap();
        assert!(said.starts_with(part) && said.contains(sentence), "{range}: {said}");
    }
}

/// Check headers that cannot be true: wrapping addresses, more memory than the file has bytes,
/// other kinds of ELF, damaged tables, and counts beyond the limit.
#[test]
fn hostile_headers() {
    let good = core(&[Load::new(0x1000, data_offset(1), 4)], b"text");
    assert!(open(&good).is_ok());
    let with = |at: usize, value: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        open(&bytes)
    };
    assert!(matches!(with(4, &[1]), Err(DumpError::OtherMachine)), "32 bits");
    assert!(matches!(with(5, &[2]), Err(DumpError::OtherMachine)), "big-endian");
    assert!(matches!(with(18, &[183]), Err(DumpError::OtherMachine)), "aarch64");
    assert!(matches!(with(16, &[2]), Err(DumpError::NotCore)), "a program");
    assert!(matches!(with(54, &[32]), Err(DumpError::HeaderSize(32))));
    assert!(matches!(with(32, &[0xff; 8]), Err(DumpError::HeadersCut)), "table past all offsets");
    assert!(matches!(
        with(32, &u64::MAX.wrapping_sub(40).to_le_bytes()),
        Err(DumpError::HeadersCut)
    ));
    assert!(matches!(with(56, &[0xfe, 0xff]), Err(DumpError::HeadersCut)), "65534 headers");
    assert!(matches!(with(56, &[0xff, 0xff]), Err(DumpError::NoCount)));
    assert!(matches!(with(64, &[4]), Err(DumpError::Empty)), "no PT_LOAD");
    assert!(with(48, &[1]).unwrap().remark().unwrap().contains("incomplete"));

    let wrapping = core(&[Load::new(u64::MAX - 2, data_offset(1), 4)], b"text");
    assert!(matches!(open(&wrapping), Err(DumpError::NoRange(_))));
    let huge = core(&[Load::new(0, data_offset(1), u64::MAX)], b"text");
    assert_eq!(open(&huge).unwrap().ranges().to_string(), "0x0..0x4");
    let beyond = core(&[Load::new(0, u64::MAX - 1, 4)], b"text");
    assert!(matches!(open(&beyond), Err(DumpError::Empty)));
    // A thousand headers that all show the same piece of the file, each at another address.
    let size = 1000 * PROGRAM_HEADER;
    let many: Vec<_> = (0..1000).map(|n| Load::new(n << 32, 0, size)).collect();
    assert!(matches!(open(&core(&many, b"")), Err(DumpError::MoreThanFile { .. })));
}

/// Check a core with more headers than the file header can count (`PN_XNUM`), and one with more
/// than the limit.
#[test]
fn more_headers_than_fit() {
    let extended = |count: u32, written: u64| {
        let table = FILE_HEADER + 64;
        let mut bytes = file_header(0xffff, table);
        bytes[40..48].copy_from_slice(&FILE_HEADER.to_le_bytes());
        let mut section = vec![0; 64];
        section[44..48].copy_from_slice(&count.to_le_bytes());
        bytes.extend(section);
        let data = table + written * PROGRAM_HEADER;
        for n in 0..written {
            bytes.extend(program_header(&Load::new(n * 2, data + n, 1)));
        }
        bytes.extend((0..written).map(|n| n as u8));
        bytes
    };
    let core = open(&extended(70_000, 70_000)).unwrap();
    assert_eq!(core.ranges().ranges().len(), 70_000);
    let mut byte = [0];
    core.read(PhysAddr(2 * 66_000), &mut byte).unwrap();
    assert_eq!(byte, [66_000_u32 as u8]);
    assert!(core.read(PhysAddr(2 * 66_000 + 1), &mut byte).is_err());

    assert!(matches!(open(&extended(u32::MAX, 2)), Err(DumpError::TooMany(_))));
    assert!(matches!(open(&extended(1 << 20, 2)), Err(DumpError::HeadersCut)));
}

/// Check that a core of Xen, whose memory is in sections, is refused with what to do.
#[test]
fn memory_in_sections() {
    let mut xen = file_header(0, 0);
    xen[60..62].copy_from_slice(&8_u16.to_le_bytes());
    let error = elf_error(&xen).to_string();
    assert!(error.contains(".xen_pages") && error.contains("libkdumpfile"), "{error}");
}
