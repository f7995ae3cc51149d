//! Tests of sources, over made-up files.

mod elf;
mod iomem;
mod kcore;
mod lime;

use std::collections::BTreeMap;
use std::fs;

use super::*;

/// A temporary file of these bytes.
fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    file
}

/// Checks that a source serves exactly these bytes: at every address below `end`, in one read of
/// each length up to eight bytes.
fn serves(memory: &dyn Memory, expected: &BTreeMap<u64, u8>, end: u64) {
    for at in 0..end {
        for length in 1..=8_u64 {
            let mut bytes = vec![0; usize::try_from(length).unwrap()];
            let read = memory.read(PhysAddr(at), &mut bytes);
            let wanted: Option<Vec<u8>> =
                (at..at + length).map(|at| expected.get(&at).copied()).collect();
            let Some(wanted) = wanted else {
                let Err(ReadError::Refused { refusal, .. }) = read else {
                    panic!("{length} bytes at {at:#x} are not in it and were read: {read:?}");
                };
                let first = (at..at + length).find(|at| !expected.contains_key(at));
                assert_eq!(Some(refusal.range.start().0), first, "{refusal}");
                continue;
            };
            read.unwrap();
            assert_eq!(bytes, wanted, "{at:#x}");
            assert!(memory.refusal(&PhysRange::with_size(PhysAddr(at), length).unwrap()).is_none());
        }
    }
    assert_eq!(memory.ranges().size(), expected.len() as u64);
}

/// The error of opening a file of these bytes as an ELF core.
fn elf_error(bytes: &[u8]) -> DumpError {
    Dump::open_elf(file(bytes).path()).unwrap_err()
}

/// Check that both readers refuse a file that is neither a core nor a LiME image, with advice.
#[test]
fn foreign_files() {
    for (bytes, sentence) in [
        (&b"KDUMP   \x06\0\0\0"[..], "makedumpfile -E"),
        (b"DISKDUMP\x06\0\0\0", "diskdump"),
        (b"makedumpfile\0\0\0\0\x01", "makedumpfile -R"),
        (b"AVML\x02\0\0\0", "avml-convert"),
        (b"\x1f\x8b\x08\0", "gunzip"),
    ] {
        let mut padded = bytes.to_vec();
        padded.resize(64, 0);
        let file = file(&padded);
        for opened in [Dump::open_elf(file.path()), Dump::open_lime(file.path())] {
            let error = opened.unwrap_err().to_string();
            assert!(error.contains(sentence), "{error}");
        }
    }
    assert!(matches!(elf_error(&[0; 64]), DumpError::NotElf));
    assert!(matches!(elf_error(b""), DumpError::NotElf));
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(Dump::open_elf(directory.path()), Err(DumpError::Io(_))));
}

/// Check that a file in any known format is refused as a raw image, with what to do, and that
/// giving the lengths of its pieces opens it all the same.
#[test]
fn containers_given_as_raw() {
    const FORMS: &[(u64, &[u8], &str)] = &[
        (0, b"KDUMP   \x06\0\0\0", "makedumpfile -E"),
        (0, b"DISKDUMP\x06\0\0\0", "diskdump"),
        (0, b"makedumpfile\0\0\0\0\x01", "makedumpfile -R NEWFILE < FILE"),
        (0, b"AVML\x02\0\0\0", "avml-convert FILE NEWFILE"),
        (0, b"\x7fELF\x02\x01", "use --memory elf:FILE"),
        (0, b"EMiL\x01\0\0\0", "use --memory lime:FILE"),
        (0, b"\xed\xeb\x0f\xf0", "xl dump-core"),
        (0, b"Xen saved domain, xl format", "saved domain of Xen"),
        (0, b"LibxlFmt\0\0\0\x02", "saved domain of Xen"),
        (0, b"QEVM\0\0\0\x03", "dump-guest-memory"),
        (0, b"LibvirtQemudSave\x02", "virsh dump"),
        (0, b"\x7fVirtualBox SavedState V2.0", "dumpvmcore"),
        (0, b"QFI\xfb\0\0\0\x03", "qemu-img convert -O raw"),
        (0, b"KDMV\x01\0\0\0", "qemu-img convert -O raw"),
        (0, b"conectix", "qemu-img convert -O raw"),
        (0x2000 - 512, b"conectix", "qemu-img convert -O raw"),
        (0, b"vhdxfile", "qemu-img convert -O raw"),
        (0x40, b"\x7f\x10\xda\xbe", "qemu-img convert -O raw"),
        (0, b"\xd2\xbe\xd2\xbe\x08\0\0\0", "--memory raw:FILE.vmem"),
        (0, b"EVF\x09\x0d\x0a\xff\0\x01", "ewfexport -f raw"),
        (0, b"EVF2\x0d\x0a\x81\0", "ewfexport -f raw"),
        (0, b"AFF10\r\n\0", "affconvert -r"),
        (0, b"PAGEDU64", "Windows"),
        (0, b"hibr", "Windows"),
        (4086, b"S1SUSPEND\0", "hibernated Linux"),
        (0, b"\x1f\x8b\x08\0", "gunzip"),
        (0, b"\xfd7zXZ\0", "unxz"),
        (0, b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff", "unlzma"),
        (0, b"\x28\xb5\x2f\xfd", "unzstd"),
        (0, b"\x04\x22\x4d\x18", "unlz4"),
        (0, b"\x02\x21\x4c\x18", "unlz4"),
        (0, b"\x89LZO\0\r\n\x1a\n", "lzop -d"),
        (0, b"LZIP\x01", "lzip -d"),
        (0, b"BZh91AY&SY", "bunzip2"),
        (0, b"PK\x03\x04\x14\0", "unzip"),
        (0, b"7z\xbc\xaf\x27\x1c", "7z x"),
        (0, b"Rar!\x1a\x07\x01\0", "unrar"),
        (257, b"ustar\0", "tar -xf"),
    ];
    for (at, magic, sentence) in FORMS {
        let at = usize::try_from(*at).unwrap();
        let mut bytes = vec![0; 0x2000];
        bytes[at..at + magic.len()].copy_from_slice(magic);
        let file = file(&bytes);
        let error = RawImage::open(file.path(), PhysAddr(0)).unwrap_err().to_string();
        assert!(error.contains(sentence), "{sentence}: {error}");
        assert!(error.ends_with("give its length: raw:FILE@0x0+0x2000"), "{error}");
        let all = RawPiece { base: PhysAddr(0), size: Some(0x2000) };
        assert!(RawImage::open_pieces(file.path(), &[all]).is_ok(), "{sentence}");
    }
    // The interrupt vectors of a PC in real mode, and almost magic numbers.
    for start in [&b"\x53\xff\0\xf0\x53\xff\0\xf0"[..], b"\x1f\x8b\0", b"BZh", b"PK", b"", b"KDUMP"]
    {
        let mut bytes = vec![0; 0x1000];
        bytes[..start.len()].copy_from_slice(start);
        assert!(RawImage::open(file(&bytes).path(), PhysAddr(0)).is_ok(), "{start:x?}");
    }
}
