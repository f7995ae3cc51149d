//! Debug information in a vmlinux.

use std::io::Write;

use super::*;
use crate::btf::ANY_SIZE;
use crate::dwarf::made_up::content;
use crate::image::KernelImage;

const COMPRESSED: u64 = 1 << 11;
const ZLIB: u32 = 1;
const ZSTD: u32 = 2;

/// A compressed section: its header and its packed bytes.
fn packed(kind: u32, bytes: &[u8]) -> Vec<u8> {
    let content = if kind == ZLIB {
        let level = flate2::Compression::fast();
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    } else {
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        ruzstd::encoding::compress_to_vec(bytes, level)
    };
    let header = [kind, 0].map(u32::to_le_bytes).concat();
    let sizes = [bytes.len() as u64, 1].map(u64::to_le_bytes).concat();
    [header, sizes, content].concat()
}

/// The made-up kernel with debug sections that `pack` changes; and the offset of a field in it.
fn offset(flags: u64, pack: impl Fn(&[u8]) -> Vec<u8>) -> Option<u32> {
    let mut kernel = Elf::kernel();
    for (name, bytes) in content(5).named() {
        kernel = kernel.with_section(name, 1, flags, 0, pack(bytes));
    }
    let image = KernelImage::lay_out(&kernel.build()).unwrap();
    assert!(image.section(".debug_info").is_none());
    image.fields.offset("module", "mem.base", 8)
}

/// Check that debug sections are read as they are and packed in both ways. Check that the image is
/// laid out without them if they cannot be unpacked, or are larger than the limit.
#[test]
fn packed_sections() {
    assert_eq!(offset(0, <[u8]>::to_vec), Some(320));
    for kind in [ZLIB, ZSTD] {
        assert_eq!(offset(COMPRESSED, |bytes| packed(kind, bytes)), Some(320), "{kind}");
        let cut = |bytes: &[u8]| packed(kind, bytes)[..30].to_vec();
        assert_eq!(offset(COMPRESSED, cut), None);
        let large = |bytes: &[u8]| {
            let mut packed = packed(kind, bytes);
            packed[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
            packed
        };
        assert_eq!(offset(COMPRESSED, large), None);
    }
    assert_eq!(offset(COMPRESSED, |bytes| packed(ZLIB, bytes)[..20].to_vec()), None);
    assert_eq!(offset(COMPRESSED, |bytes| [&[3][..], &packed(ZLIB, bytes)[1..]].concat()), None);
}

/// Check that only structures that `.BTF` lacks are taken from debug information.
#[test]
fn types_come_first() {
    let mut btf = crate::btf::made_up::Builder::default();
    btf.add("module", 4, 64, 0, &[]);
    let mut kernel = Elf::kernel().with_section(".BTF", 1, 2, TEXT + 0x6000, btf.finish());
    for (name, bytes) in content(4).named() {
        kernel = kernel.with_section(name, 1, 0, 0, bytes.to_vec());
    }
    let fields = KernelImage::lay_out(&kernel.build()).unwrap().fields;
    assert_eq!(fields.offset("module", "name", ANY_SIZE), None);
    assert_eq!(fields.offset("kprobe", "addr", 8), Some(40));
}
