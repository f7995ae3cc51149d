//! Advice for files that hold memory in a format that this program does not read.

/// Magic numbers at the start of a file, and the advice for such a file.
const FORMS: &[(&[u8], &str)] = &[
    // KDUMP_SIGNATURE, diskdump_mod.h of makedumpfile 1.7; QEMU's `dump-guest-memory -z` writes it
    // too.
    (
        b"KDUMP   ",
        "it is kdump-compressed, which makedumpfile cannot turn back into ELF. Take the dump as \
         ELF (makedumpfile -E -d 0 /proc/vmcore FILE; in QEMU, dump-guest-memory without -z, -l \
         or -s), or copy its pages to a raw image with libkdumpfile",
    ),
    // DISK_DUMP_SIGNATURE, in the same header.
    (
        b"DISKDUMP",
        "it is a diskdump file, which is not supported. Copy its pages to a raw image with \
         libkdumpfile, or take the dump as ELF (makedumpfile -E)",
    ),
    // MAKEDUMPFILE_SIGNATURE, makedumpfile.h.
    (
        b"makedumpfile",
        "it is flattened (makedumpfile -F). Rearrange it first: makedumpfile -R NEWFILE < FILE",
    ),
    // src/image.rs of AVML: magic `AVML`, version 2.
    (
        b"AVML",
        "it is compressed by AVML (version 2). Expand it first: avml-convert FILE NEWFILE, then \
         --memory lime:NEWFILE",
    ),
    (b"\x7fELF", "it is an ELF file: use --memory elf:FILE"),
    (b"EMiL", "it is a LiME image: use --memory lime:FILE"),
    (b"\x1f\x8b", "it is compressed as a whole: expand it first with gunzip"),
    (b"\xfd7zXZ\0", "it is compressed as a whole: expand it first with unxz"),
    (b"\x28\xb5\x2f\xfd", "it is compressed as a whole: expand it first with unzstd"),
];

/// The advice for a file that starts with `head`, if its format is known.
pub(super) fn advice(head: &[u8]) -> Option<&'static str> {
    FORMS.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, advice)| *advice)
}
