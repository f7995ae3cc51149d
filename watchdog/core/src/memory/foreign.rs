//! Advice for files that hold memory in a format that is not the one that the user named.
//!
//! A raw image has no magic number: its first bytes are whatever the memory holds there. A file
//! that begins like one of these formats is therefore refused as a raw image, unless the user gives
//! the lengths of its pieces. Otherwise a search of packed memory would only find no kernel.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// A format by its magic number.
struct Form {
    /// Offset of the magic number in the file.
    at: u64,
    magic: &'static [u8],
    /// What it is, and what to do with it.
    advice: &'static str,
}

const fn form(at: u64, magic: &'static [u8], advice: &'static str) -> Form {
    Form { at, magic, advice }
}

const EXPAND_VM: &str = "it is a disk image of a virtual machine. Copy its bytes to a raw image \
                         first: qemu-img convert -O raw FILE NEWFILE";
const VMWARE: &str = "it is VMware's state of a virtual machine. The memory is in the .vmem file \
                      beside it: use --memory raw:FILE.vmem. If the machine has more than 3 GiB, \
                      that file continues at 4 GiB: raw:FILE.vmem@0+0xc0000000,0x100000000";
const EXPERT_WITNESS: &str = "it is an Expert Witness (EWF) image. Export its bytes to a raw \
                              image first: ewfexport -f raw FILE";
const WINDOWS: &str = "it is a memory dump of Windows, which holds no memory of a Linux kernel \
                       that this program reads";
const HIBERNATED: &str = "it is an image of a hibernated Linux, which is compressed and has no \
                          physical addresses. Resume that machine and read its memory, or take a \
                          dump with makedumpfile";
const GUNZIP: &str = "it is compressed as a whole: expand it first with gunzip";
const UNZIP: &str = "it is a zip archive: expand it first with unzip";
const UNLZOP: &str = "it is compressed as a whole: expand it first with lzop -d";
const UNLZ4: &str = "it is compressed as a whole: expand it first with unlz4";

/// The advice for an ELF core whose memory is in sections. tools/libs/guest/xg_core.c writes it.
pub(super) const NO_SEGMENTS: &str = "it is an ELF core without program headers, as Xen's `xl \
                                      dump-core` writes it: its memory is in a section \
                                      `.xen_pages`, which is not read. Copy its pages to a raw \
                                      image with libkdumpfile, or take a dump inside the domain \
                                      (LiME, AVML)";

/// Magic numbers and the advice for such a file.
const FORMS: &[Form] = &[
    // KDUMP_SIGNATURE, diskdump_mod.h of makedumpfile 1.7; QEMU's `dump-guest-memory -z` writes it
    // too.
    form(
        0,
        b"KDUMP   ",
        "it is kdump-compressed, which makedumpfile cannot turn back into ELF. Take the dump as \
         ELF (makedumpfile -E -d 0 /proc/vmcore FILE; in QEMU, dump-guest-memory without -z, -l \
         or -s), or copy its pages to a raw image with libkdumpfile",
    ),
    // DISK_DUMP_SIGNATURE, in the same header.
    form(
        0,
        b"DISKDUMP",
        "it is a diskdump file, which is not supported. Copy its pages to a raw image with \
         libkdumpfile, or take the dump as ELF (makedumpfile -E)",
    ),
    // MAKEDUMPFILE_SIGNATURE, makedumpfile.h.
    form(
        0,
        b"makedumpfile\0",
        "it is flattened (makedumpfile -F). Rearrange it first: makedumpfile -R NEWFILE < FILE",
    ),
    // src/image.rs of AVML: magic `AVML`, version 2.
    form(
        0,
        b"AVML\x02\0\0\0",
        "it is compressed by AVML (version 2). Expand it first: avml-convert FILE NEWFILE, then \
         --memory lime:NEWFILE",
    ),
    form(0, b"\x7fELF", "it is an ELF file: use --memory elf:FILE"),
    form(0, b"EMiL", "it is a LiME image: use --memory lime:FILE"),
    // XC_CORE_MAGIC and XC_CORE_MAGIC_HVM: cores of Xen before its ELF cores.
    form(0, b"\xed\xeb\x0f\xf0", XEN_CORE),
    form(0, b"\xee\xeb\x0f\xf0", XEN_CORE),
    // The header of `xl save` (tools/xl/xl.h), and of a stream of libxc without it.
    form(0, b"Xen saved domain", XEN_SAVED),
    form(0, b"LibxlFmt", XEN_SAVED),
    form(0, b"\xff\xff\xff\xff\xff\xff\xff\xff\x46\x4e\x45\x58", XEN_SAVED),
    // QEMU_VM_FILE_MAGIC, migration/savevm.h; libvirt puts a header of its own in front.
    form(0, b"QEVM", QEMU_SAVED),
    form(0, b"LibvirtQemudSave", QEMU_SAVED),
    form(0, b"LibvirtQemudPart", QEMU_SAVED),
    form(
        0,
        b"\x7fVirtualBox SavedState",
        "it is VirtualBox's saved state. Start the machine, take a core of it (VBoxManage debugvm \
         MACHINE dumpvmcore --filename FILE), and use --memory elf:FILE",
    ),
    form(0, b"QFI\xfb", EXPAND_VM),
    form(0, b"QED\0", EXPAND_VM),
    form(0, b"KDMV", EXPAND_VM),
    form(0, b"# Disk DescriptorFile", EXPAND_VM),
    form(0, b"conectix", EXPAND_VM),
    form(0, b"vhdxfile", EXPAND_VM),
    form(0x40, b"\x7f\x10\xda\xbe", EXPAND_VM),
    // The four variants of the header of .vmss and .vmsn.
    form(0, b"\xd0\xbe\xd2\xbe", VMWARE),
    form(0, b"\xd1\xba\xd1\xba", VMWARE),
    form(0, b"\xd2\xbe\xd2\xbe", VMWARE),
    form(0, b"\xd3\xbe\xd3\xbe", VMWARE),
    form(0, b"EVF\x09\x0d\x0a\xff\0", EXPERT_WITNESS),
    form(0, b"EVF2\x0d\x0a\x81\0", EXPERT_WITNESS),
    form(
        0,
        b"AFF10\r\n\0",
        "it is an AFF image. Export its bytes to a raw image first: affconvert -r FILE",
    ),
    form(0, b"PAGEDUMP", WINDOWS),
    form(0, b"PAGEDU64", WINDOWS),
    form(0, b"MDMP\x93\xa7", WINDOWS),
    form(0, b"HIBR", WINDOWS),
    form(0, b"hibr", WINDOWS),
    // The end of the header's page (HIBERNATE_SIG, kernel/power/swap.c; uswsusp has its own).
    form(4086, b"S1SUSPEND", HIBERNATED),
    form(4086, b"ULSUSPEND", HIBERNATED),
    form(0, b"\x1f\x8b\x08", GUNZIP),
    form(0, b"\x1f\x9d\x90", GUNZIP),
    form(0, b"\xfd7zXZ\0", "it is compressed as a whole: expand it first with unxz"),
    form(
        0,
        b"\x5d\0\0\x80\0\xff\xff\xff\xff",
        "it is compressed as a whole: expand it with unlzma",
    ),
    form(0, b"\x28\xb5\x2f\xfd", "it is compressed as a whole: expand it first with unzstd"),
    form(0, b"\x04\x22\x4d\x18", UNLZ4),
    form(0, b"\x02\x21\x4c\x18", UNLZ4),
    form(0, b"\x89LZO\0\r\n\x1a\n", UNLZOP),
    form(0, b"LZIP\x01", "it is compressed as a whole: expand it first with lzip -d"),
    form(0, b"\xff\x06\0\0sNaPpY", "it is compressed by snappy as a whole: expand it first"),
    form(0, b"PK\x03\x04", UNZIP),
    form(0, b"PK\x07\x08PK\x03\x04", UNZIP),
    form(0, b"7z\xbc\xaf\x27\x1c", "it is a 7-Zip archive: expand it first with 7z x"),
    form(0, b"Rar!\x1a\x07", "it is a RAR archive: expand it first with unrar x"),
    form(257, b"ustar", "it is a tar archive: expand it first with tar -xf"),
];

const XEN_CORE: &str =
    "it is an old core of Xen, which is not supported. Take a new one: xl dump-core";
const XEN_SAVED: &str = "it is a saved domain of Xen, which is not supported: its pages have no \
                         fixed place. Restore the domain and read the memory of the machine, or \
                         take a dump inside the domain (LiME, AVML)";
const QEMU_SAVED: &str = "it is a saved virtual machine of QEMU, which is a stream of devices' \
                          states. Start the machine again, take an ELF core (dump-guest-memory \
                          FILE; virsh dump --memory-only --format elf MACHINE FILE), and use \
                          --memory elf:FILE";

/// `BZh`, the size of a block, and the magic number of the first block. A file that is empty has
/// none, and holds no memory.
fn is_bzip2(head: &[u8]) -> bool {
    matches!(head, [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', b'&', b'S', b'Y', ..])
}

/// The advice for a file that starts with `head`, if its format is known.
pub(super) fn advice(head: &[u8]) -> Option<&'static str> {
    if is_bzip2(head) {
        return Some("it is compressed as a whole: expand it first with bunzip2");
    }
    let matches = |form: &&Form| {
        let start = usize::try_from(form.at).ok();
        start.and_then(|at| head.get(at..)).is_some_and(|rest| rest.starts_with(form.magic))
    };
    FORMS.iter().find(matches).map(|form| form.advice)
}

/// The advice for an open file of `length` bytes. A file that cannot be read has none: the next
/// read reports the error.
pub(super) fn advice_for(file: &File, length: u64) -> Option<&'static str> {
    const HEAD: u64 = 4096;
    let mut head = vec![0; usize::try_from(length.min(HEAD)).ok()?];
    file.read_exact_at(&mut head, 0).ok()?;
    // A virtual disk of fixed size has its header in the last 512 bytes.
    advice(&head).or_else(|| {
        let mut footer = [0; 8];
        file.read_exact_at(&mut footer, length.checked_sub(512)?).ok()?;
        (&footer == b"conectix").then_some(EXPAND_VM)
    })
}
