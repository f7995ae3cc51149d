//! Tests of files that hold a kernel: in EFI programs, packed as a whole, in each other.

use std::fs::{self, File};

use super::super::made_up::{Elf, FORMATS, bzimage, pack, pe, place, zboot};
use super::super::{
    Format, ImageError, KernelImage, MAX_UNPACKED, VendorImage, open_unpacked, payload, unpack,
};
use super::{expect_kernel, refusal};
use crate::text::chain;

/// A file as a packer writes it: without the size that a payload has behind it.
fn whole(format: Format, content: &[u8]) -> Vec<u8> {
    let packed = pack(format, content);
    let size = if format == Format::Gzip { 0 } else { 4 };
    packed[..packed.len() - size].to_vec()
}

/// Check that a kernel is read out of every container, and that relocations stay behind the ELF
/// file of a bzImage.
#[test]
fn every_container() {
    let elf = Elf::kernel().build();
    let with_relocations = [elf.clone(), vec![0; 12]].concat();
    let boot = bzimage(&pack(Format::Zstd, &with_relocations));
    let unified = pe(&[(".osrel", b"ID=x"), (".linux", &boot), (".initrd", b"initrd")]);
    for format in FORMATS {
        let packed = whole(format, &elf);
        assert_eq!(unpack(&packed).unwrap(), elf, "{format}");
        expect_kernel(&VendorImage::parse(packed).unwrap());
    }
    for (file, expected) in [
        (unified.clone(), &with_relocations),
        (whole(Format::Gzip, &unified), &with_relocations),
        (pe(&[(".linux", &elf)]), &elf),
        (zboot(&whole(Format::Gzip, &elf)), &elf),
        (whole(Format::Xz, &boot), &with_relocations),
        (bzimage(&elf), &elf),
    ] {
        assert_eq!(&unpack(&file).unwrap(), expected);
        expect_kernel(&VendorImage::parse(file).unwrap());
    }
}

/// Check that damaged containers are refused, and never cause a panic.
#[test]
fn damaged_containers() {
    let boot = bzimage(&pack(Format::Gzip, &Elf::kernel().build()));
    let unified = pe(&[(".linux", &boot), (".osrel", b"ID=x")]);
    let zboot = zboot(&whole(Format::Gzip, &Elf::kernel().build()));
    for sound in [&unified, &zboot] {
        for length in (0..0x260).chain((0x260..sound.len()).step_by(97)) {
            drop(VendorImage::parse(sound[..length].to_vec()));
        }
        for at in 0..0x400 {
            let mut damaged = sound.clone();
            damaged[at] ^= 0xff;
            drop(VendorImage::parse(damaged));
        }
    }
    let cut = refusal(&unified[..unified.len() / 2]);
    assert!(cut.contains("`.linux` should be"), "{cut}");
    let cut = refusal(&zboot[..zboot.len() / 2]);
    assert!(cut.contains("its kernel should be"), "{cut}");
    let twice = refusal(&pe(&[(".linux", &boot), (".linux", &boot)]));
    assert!(twice.contains("two sections `.linux`"), "{twice}");
    let none = refusal(&pe(&[(".text", b"efi")]));
    assert!(none.contains("neither a bzImage nor a unified kernel image"), "{none}");
}

/// Check that containers in containers end, and that a bomb stops at the limit.
#[test]
fn bombs() {
    let mut nested = Elf::kernel().build();
    for _ in 0..4 {
        nested = whole(Format::Gzip, &nested);
    }
    assert!(matches!(unpack(&nested), Err(ImageError::Nested)));
    for format in FORMATS {
        let bomb = whole(format, &vec![0; 3 << 20]);
        let error = payload::unpack_whole(&bomb, 1 << 20).unwrap_err();
        assert!(matches!(error, ImageError::Endless { .. }), "{format}: {error}");
        assert!(error.to_string().contains("limit of 1048576 bytes"), "{error}");
    }
}

/// Check that files whose sections are lost are refused with what to give.
#[test]
fn without_sections() {
    let sound = Elf::kernel().build();
    let mut stripped = sound.clone();
    place(&mut stripped, 0x28, &[0; 8]);
    place(&mut stripped, 0x3c, &[0; 4]);
    let mut library = Elf::kernel();
    library.kind = 3;
    for section in &mut library.sections {
        section.addr = 0;
    }
    for file in [stripped, library.build()] {
        let error = refusal(&file);
        assert!(error.contains("libkrunfw") && error.contains("vmlinux"), "{error}");
    }
    let flat = refusal(&vec![0x90; 0x4000]);
    assert!(flat.contains("flat binary of a VMM"), "{flat}");
}

/// Check that a file above the limit is refused with the limit, and with what to do.
#[test]
fn above_the_limit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vmlinux");
    fs::write(&path, Elf::kernel().build()).unwrap();
    assert!(open_unpacked(&path).is_ok());
    File::options().write(true).open(&path).unwrap().set_len(MAX_UNPACKED + 1).unwrap();
    let error = chain(&open_unpacked(&path).unwrap_err());
    assert!(error.contains("536870913 bytes long") && error.contains("(512 MiB)"), "{error}");
    assert!(error.contains("objcopy --strip-debug"), "{error}");
}

/// Check that a kernel that KASLR moves is distinguished from one that stays.
#[test]
fn kaslr() {
    let mut moves = Elf::kernel();
    moves.section(".rodata").bytes.extend(b"\x010Kernel Offset: 0x%lx from 0x%lx (\0");
    assert!(KernelImage::lay_out(&moves.build()).unwrap().has_kaslr());
    assert!(!KernelImage::lay_out(&Elf::kernel().build()).unwrap().has_kaslr());
}

/// Check that kept relocations are selected as relocs.c selects them, and that the symbols of the
/// file are read.
#[test]
fn kept_relocations() {
    use super::super::made_up::TEXT;
    const PC32: u32 = 2;
    const PLT32: u32 = 4;
    const ABS32S: u32 = 11;
    const ABS64: u32 = 1;
    let kernel = Elf::kernel()
        .with_section(".data..percpu", 1, 3, 0, vec![0; 64])
        .with_symbols(&[("_stext", TEXT), ("function", TEXT + 0x40), ("absolute", 7)])
        .with_symbol_in("per_cpu", 0x10, ".data..percpu")
        .with_relocations(
            ".text",
            &[
                (TEXT + 0x100, ABS64, "function"),
                (TEXT + 0x80, ABS32S, "function"),
                (TEXT + 0x90, PC32, "function"),
                (TEXT + 0x94, PLT32, "per_cpu"),
                (TEXT + 0x98, ABS32S, "per_cpu"),
                (TEXT + 0xa0, ABS32S, "absolute"),
            ],
        );
    let image = KernelImage::lay_out(&kernel.build()).unwrap();
    assert_eq!(image.relocations.words, [0x80]);
    assert_eq!(image.relocations.quads, [0x100]);
    assert_eq!(image.relocations.inverse, [0x94]);
    let symbols: Vec<_> = image.symbols.iter().map(|(_, name, at)| (name.as_str(), *at)).collect();
    assert_eq!(symbols, [("_stext", 0), ("function", 0x40)]);
    let unknown = kernel.with_relocations(".text", &[(TEXT + 8, 99, "function")]);
    let error = chain(&KernelImage::lay_out(&unknown.build()).unwrap_err());
    assert!(error.contains("unknown type 99"), "{error}");
}
