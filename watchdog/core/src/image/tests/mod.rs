//! Tests with a made-up kernel: packed in every way, damaged in every way.

mod containers;
mod debug;
mod packing;

use std::fs;

use super::made_up::{
    BANNER, BUILD_ID, Elf, FORMATS, NOTES, TEXT, TEXT_SIZE, bzimage, note, pack, place,
};
use super::{Format, MAX_PACKED, VendorImage, unpack};
use crate::logged::logged;
use crate::memory::VirtAddr;
use crate::text::chain;

/// Offset of the build id in the made-up kernel's notes. One note for Xen and one of Linux's own
/// precede it.
const NOTE_OFFSET: u64 = 24 + 36;

fn refusal(file: &[u8]) -> String {
    chain(&VendorImage::parse(file.to_vec()).unwrap_err())
}

fn refused_elf(change: impl FnOnce(&mut Elf)) -> String {
    let mut elf = Elf::kernel();
    change(&mut elf);
    refusal(&elf.build())
}

fn expect_kernel(image: &VendorImage) {
    assert_eq!(image.build_id(), BUILD_ID);
    assert_eq!(image.build_id_note(), note(b"GNU\0", 3, &BUILD_ID));
    assert_eq!(image.build_id_note_offset(), (NOTES + NOTE_OFFSET - TEXT).cast_signed());
    assert_eq!(image.text_virt(), VirtAddr(TEXT));
    assert_eq!(image.text_size(), TEXT_SIZE);
    assert_eq!(image.release(), "6.12.1-made-up");
    assert_eq!(image.banner(), BANNER);
}

/// Check that a kernel is read in every packing, from a file and from memory. The relocations
/// behind it in the payload do not matter.
#[test]
fn every_packing() {
    let elf = [Elf::kernel().build(), vec![0; 4096]].concat();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vmlinuz");
    for format in FORMATS {
        let file = bzimage(&pack(format, &elf));
        assert_eq!(unpack(&file).unwrap(), elf, "{format}");
        fs::write(&path, &file).unwrap();
        expect_kernel(&VendorImage::parse(file).unwrap());
        expect_kernel(&VendorImage::open(&path).unwrap());
    }
    fs::write(&path, &elf).unwrap();
    expect_kernel(&VendorImage::parse(elf).unwrap());
    expect_kernel(&VendorImage::open(&path).unwrap());
}

/// Check that the log says how an image is packed, and what it holds.
#[test]
fn explained() {
    let file = bzimage(&pack(Format::Zstd, &Elf::kernel().build()));
    let lines = logged(|| drop(VendorImage::parse(file).unwrap()));
    let has = |part: &str| lines.iter().any(|line| line.contains(part));
    assert!(has("image::payload") && has("bytes packed as zstd: unpacked"), "{lines:?}");
    assert!(has("image::vmlinux an image of Linux 6.12.1-made-up, build id"), "{lines:?}");
}

/// Check that a bzImage that is cut short anywhere is refused with advice.
#[test]
fn truncated_bzimage() {
    let file = bzimage(&pack(Format::Zstd, &Elf::kernel().build()));
    let whole = file.len() - b"signature".len();
    for length in (0..0x260).chain((0x260..whole).step_by(13)).chain([whole - 1]) {
        let error = refusal(&file[..length]);
        assert!(error.contains("give the x86-64 kernel") || error.contains("fetch it"), "{error}");
    }
    expect_kernel(&VendorImage::parse(file[..whole].to_vec()).unwrap());
}

/// Check that each false value in a boot header has a message of its own.
#[test]
fn wrong_boot_header() {
    let sound = bzimage(&pack(Format::Gzip, &Elf::kernel().build()));
    let with = |at: u64, bytes: &[u8]| {
        let mut file = sound.clone();
        place(&mut file, at, bytes);
        refusal(&file)
    };
    for (error, expected) in [
        (with(0x202, b"HdrX"), "neither a bzImage"),
        (with(0x1fe, b"\0"), "neither a bzImage"),
        (with(0x206, b"\x07\x02"), "protocol is 2.07"),
        (with(0x248, &u32::MAX.to_le_bytes()), "the file ends after"),
        (with(0x24c, &u32::MAX.to_le_bytes()), "the file ends after"),
        (with(0x24c, &0_u32.to_le_bytes()), "unknown way"),
        (with(0x24c, &3_u32.to_le_bytes()), "is empty"),
        (with(0x1f1, b"\xff"), "the file ends after"),
        (with(0x1f1, b"\0"), "from byte 2660 on"),
    ] {
        assert!(error.contains(expected), "{expected}: {error}");
    }
    // 0 sectors of boot code stand for four (Documentation/arch/x86/boot.rst).
    let mut four = [&sound[..3 * 512], &[0; 2 * 512], &sound[3 * 512..]].concat();
    place(&mut four, 0x1f1, b"\0");
    expect_kernel(&VendorImage::parse(four).unwrap());
    let mut arm = vec![0; 4096];
    place(&mut arm, 0x38, b"ARM\x64");
    assert!(refusal(&arm).starts_with("it is an arm64 kernel"), "{}", refusal(&arm));
    place(&mut arm, 0, b"MZ");
    place(&mut arm, 0x38, b"PE\0\0");
    assert!(refusal(&arm).contains("EFI program"), "{}", refusal(&arm));
}

/// Check that ELF files of other machines and kinds are not taken for kernels.
#[test]
fn other_elf() {
    for (error, expected) in [
        (refused_elf(|elf| (elf.class, elf.machine) = (1, 3)), "32-bit x86"),
        (refused_elf(|elf| elf.order = 2), "big-endian"),
        (refused_elf(|elf| elf.machine = 183), "arm64"),
        (refused_elf(|elf| elf.machine = 243), "another machine"),
        (refused_elf(|elf| elf.class = 1), "another machine"),
        (refused_elf(|elf| elf.kind = 1), "not a linked program"),
        (refusal(b"\x7fELF\x02\x01"), "too short"),
    ] {
        assert!(error.starts_with("it is ") && error.contains(expected), "{expected}: {error}");
    }
}

/// Check that the message names each thing that a kernel lacks, has twice or has in the wrong
/// place.
#[test]
fn unsound_vmlinux() {
    let id = note(b"GNU\0", 3, &BUILD_ID);
    let notes = |bytes: Vec<u8>| refused_elf(|elf| elf.section(".notes").bytes = bytes);
    let drop = |name: &str| refused_elf(|elf| elf.sections.retain(|one| one.name != name));
    for (error, expected) in [
        (notes(note(b"Xen\0", 3, &BUILD_ID)), "has no build id"),
        (notes([id.clone(), id.clone()].concat()), "has two build ids"),
        (notes(note(b"GNU\0", 3, &[1; 7])), "build id of 7 bytes"),
        (notes(note(b"GNU\0", 3, &[1; 65])), "build id of 65 bytes"),
        (notes(id[..id.len() - 1].to_vec()), "0 bytes into `.notes`, that is cut short"),
        (notes([&id[..], &[0xff; 12]].concat()), "36 bytes into `.notes`, that is cut short"),
        (drop(".text"), "no section `.text`"),
        (drop(".notes"), "no section `.notes`"),
        (drop(".rodata"), "no section `.rodata`"),
        (refused_elf(|elf| elf.section(".rodata").name = ".text"), "two sections `.text`"),
        (refused_elf(|elf| elf.section(".text").kind = 8), "as a file of debug symbols"),
        (refused_elf(|elf| elf.section(".notes").kind = 1), "section type 1 and not 7"),
        (refused_elf(|elf| elf.section(".text").bytes.clear()), "empty `.text`"),
        (refused_elf(|elf| elf.section(".text").flags = 2), "where no kernel has it"),
        (refused_elf(|elf| elf.section(".text").addr += 1), "where no kernel has it"),
        (refused_elf(|elf| elf.section(".text").oversize = u64::MAX / 2), "where no kernel"),
        (refused_elf(|elf| elf.section(".text").oversize = 0x10_0000), "holds all of `.text`"),
        (refused_elf(|elf| elf.section(".notes").oversize = 0xf000), "outside the file"),
        (refused_elf(|elf| elf.section(".notes").oversize = 1 << 40), "more than the 65536"),
        (refused_elf(|elf| elf.section(".rodata").oversize = 1 << 20), "outside the file"),
        (refused_elf(|elf| elf.section(".rodata").bytes.clear()), "does not say which version"),
        (refused_elf(|elf| elf.parted = Some((NOTES, 0x20_0000))), "is not one piece"),
    ] {
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(error.starts_with("its vmlinux ") && error.contains("/boot/vmlinuz"), "{error}");
    }
}

/// Check that symbols are compared with `.text`, and that other symbols do not matter.
#[test]
fn symbols() {
    let end = TEXT + TEXT_SIZE;
    let with = |symbols: &[(&str, u64)]| {
        VendorImage::parse(Elf::kernel().with_symbols(symbols).build())
            .map_err(|error| chain(&error))
    };
    let agreed = [("_text", TEXT), ("_stext", TEXT), ("_etext", end), ("_etext_of_mine", 1)];
    expect_kernel(&with(&agreed).unwrap());
    expect_kernel(&with(&[]).unwrap());
    for (symbol, expected) in
        [(("_stext", TEXT + 16), "`_stext`"), (("_etext", end - 1), "`_etext`")]
    {
        let error = with(&[symbol]).unwrap_err();
        assert!(
            error.contains("contradicts itself about its text") && error.contains(expected),
            "{error}"
        );
    }
}

/// Check that an ELF file that is cut short anywhere is refused. With any byte of its headers
/// changed, it is refused or read, and never causes a panic.
#[test]
fn damaged_vmlinux() {
    let file = Elf::kernel().with_symbols(&[("_stext", TEXT)]).build();
    for length in (4..0x100).chain((0x100..file.len()).step_by(61)) {
        assert!(refusal(&file[..length]).contains("give the"), "{length}");
    }
    for at in (4..0x100).chain(file.len() - 0x240..file.len()) {
        for change in [0x01, 0x80, 0xff] {
            let mut damaged = file.clone();
            damaged[at] ^= change;
            if let Ok(image) = VendorImage::parse(damaged) {
                assert_eq!(image.build_id(), BUILD_ID, "byte {at}");
            }
        }
    }
}

/// Check that more headers than any kernel has are refused before they are read: a sparse file may
/// be of any size.
#[test]
fn too_many_headers() {
    let sound = Elf::kernel().build();
    let sections = u64::from_le_bytes(sound[0x28..0x30].try_into().unwrap());
    // Counts that do not fit are in the first section's header (elf(5)).
    for (at, none, place_of_number) in [(0x3c, 0_u16, 0x20), (0x38, 0xffff, 0x2c)] {
        let mut file = sound.clone();
        place(&mut file, at, &none.to_le_bytes());
        place(&mut file, sections + place_of_number, &5000_u32.to_le_bytes());
        let error = refusal(&file);
        assert!(error.contains("has 5000 segments or sections"), "{error}");
    }
}

/// Check that errors name their file, and that endless files are not opened.
#[test]
fn files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vmlinuz");
    let open = |path: &std::path::Path| chain(&VendorImage::open(path).unwrap_err());
    assert!(open(&path).contains("No such file"), "{}", open(&path));
    fs::write(&path, b"\x7fELF").unwrap();
    assert!(open(&path).contains("too short"), "{}", open(&path));
    fs::write(&path, b"").unwrap();
    assert!(open(&path).contains("too short"), "{}", open(&path));
    fs::File::create(&path).unwrap().set_len(MAX_PACKED + 1).unwrap();
    assert!(
        open(&path).contains("limit for a packed image is 268435456 (256 MiB)"),
        "{}",
        open(&path)
    );
    assert!(open(&path).contains("vmlinuz"));
    for endless in ["/dev/zero", "/"] {
        assert!(open(endless.as_ref()).contains("not a regular file"));
    }
}
