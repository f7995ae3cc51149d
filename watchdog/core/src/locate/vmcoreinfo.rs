//! Witness: VMCOREINFO, the note that a kernel keeps for readers of its dump.
//!
//! The note has lines of `KEY=VALUE` (kernel/vmcore_info.c, before 6.9 kernel/crash_core.c). One
//! copy is in a page of its own (`vmcoreinfo_data`), another in a page behind an ELF note header. A
//! third, unaligned copy is the text as the kernel formats it; this module ignores it.

use crate::memory::{PhysAddr, VirtAddr};

use super::page_tables::IMAGE_MAPPING;

const FIRST_KEY: &[u8] = b"OSRELEASE=";
/// Offset of the text after its ELF note header: 12 bytes and the padded name `VMCOREINFO`.
const NOTE_HEADER: usize = 24;

/// The claim of VMCOREINFO about a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteClaim {
    /// `OSRELEASE`.
    pub release: String,
    /// `BUILD-ID`, hexadecimal.
    pub build_id: Option<String>,
    /// `SYMBOL(_stext)`.
    pub virt: VirtAddr,
    /// Physical address of `_stext`, by `NUMBER(phys_base)`.
    pub phys: PhysAddr,
    /// Physical address of `SYMBOL(init_top_pgt)` or `SYMBOL(swapper_pg_dir)`.
    pub root: Option<PhysAddr>,
    /// `NUMBER(sme_mask)`, the bit of page-table entries that means "encrypted memory", or 0.
    pub encryption: Option<u64>,
    /// `NUMBER(KERNEL_IMAGE_SIZE)`: bytes of the image mapping. Modules are mapped behind it.
    pub mapping_size: Option<u64>,
}

/// Whether a page begins with the note, with or without its ELF header.
#[must_use]
pub fn looks_like_note(page: &[u8]) -> bool {
    text_of(page).is_some()
}

fn text_of(page: &[u8]) -> Option<&[u8]> {
    [0, NOTE_HEADER]
        .into_iter()
        .filter_map(|offset| page.get(offset..))
        .find(|text| text.starts_with(FIRST_KEY))
}

/// Reads the note in a page (4096 bytes). `None` if the page has no valid note.
#[must_use]
pub fn claim(page: &[u8]) -> Option<NoteClaim> {
    examine(page).ok()
}

/// As [`claim`]; the error is the check that failed.
pub(super) fn examine(page: &[u8]) -> Result<NoteClaim, &'static str> {
    let text = text_of(page).ok_or("the page does not begin with the note")?;
    let value = |key: &str| {
        text.split(|&byte| byte == b'\n' || byte == 0)
            .find_map(|line| line.strip_prefix(key.as_bytes())?.strip_prefix(b"="))
            .and_then(|value| std::str::from_utf8(value).ok())
    };
    let symbol =
        |name: &str| u64::from_str_radix(value(&format!("SYMBOL({name})"))?, 16).ok().map(VirtAddr);
    // `%lld` of an address that may be "negative": both forms occur in the wild.
    let phys_base = value("NUMBER(phys_base)").ok_or("the note has no NUMBER(phys_base)")?;
    let phys_base = phys_base
        .parse::<u64>()
        .ok()
        .or_else(|| phys_base.parse::<i64>().ok().map(i64::cast_unsigned))
        .ok_or("the note's NUMBER(phys_base) is not a number")?;
    let physical = |at: VirtAddr| {
        let offset = at.0.checked_sub(IMAGE_MAPPING)?;
        Some(PhysAddr(offset.wrapping_add(phys_base)))
    };
    let virt = symbol("_stext").ok_or("the note has no address as SYMBOL(_stext)")?;
    let root = symbol("init_top_pgt").or_else(|| symbol("swapper_pg_dir"));
    let encryption = value("NUMBER(sme_mask)").and_then(|mask| mask.parse().ok());
    let mapping_size = value("NUMBER(KERNEL_IMAGE_SIZE)").and_then(|size| size.parse().ok());
    let release = value("OSRELEASE").filter(|release| !release.is_empty());
    let release = release.ok_or("the note has no OSRELEASE")?;
    let is_hex =
        |id: &&str| !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
    Ok(NoteClaim {
        release: release.chars().take(64).collect(),
        build_id: value("BUILD-ID").filter(is_hex).map(str::to_ascii_lowercase),
        virt,
        phys: physical(virt).ok_or("the note's _stext is not in the kernel image mapping")?,
        root: root.and_then(physical),
        encryption,
        mapping_size,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTE: &str = "OSRELEASE=6.1.0-56-amd64\nBUILD-ID=EB4F\nPAGESIZE=4096\n\
        SYMBOL(init_top_pgt)=ffffffff82a10000\nSYMBOL(_stext)=ffffffff81000000\n\
        NUMBER(phys_base)=939524096\nKERNELOFFSET=0\n";

    fn page(offset: usize, text: &str) -> Vec<u8> {
        let mut page = vec![0; 4096];
        page[offset..offset + text.len()].copy_from_slice(text.as_bytes());
        page
    }

    /// Check that a note is read at both of its offsets, and nowhere else.
    #[test]
    fn read() {
        for offset in [0, NOTE_HEADER] {
            let claim = claim(&page(offset, NOTE)).unwrap();
            assert_eq!(claim.release, "6.1.0-56-amd64");
            assert_eq!(claim.build_id.as_deref(), Some("eb4f"));
            assert_eq!(claim.phys, PhysAddr(0x3900_0000));
            assert_eq!(claim.root, Some(PhysAddr(0x3aa1_0000)));
        }
        assert!(!looks_like_note(&page(100, NOTE)));
    }

    /// Check that false values in the note are refused.
    #[test]
    fn lies() {
        for (from, to) in [
            ("ffffffff81000000", "1000"),
            ("ffffffff81000000", "not hexadecimal"),
            ("939524096", "many"),
            ("OSRELEASE=6.1.0-56-amd64", "OSRELEASE=\u{0}"),
        ] {
            assert_eq!(claim(&page(0, &NOTE.replace(from, to))), None, "{to}");
        }
    }

    /// Check that a negative base stands for the address that it wraps to.
    #[test]
    fn negative_base() {
        let note = NOTE.replace("939524096", "-16777216");
        assert_eq!(claim(&page(0, &note)).unwrap().phys, PhysAddr(0));
    }
}
