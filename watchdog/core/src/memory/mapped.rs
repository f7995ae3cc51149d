//! Memory that this kernel and its modules have mapped for themselves, by `/proc/vmallocinfo`. A
//! driver that mapped memory before the guard was armed writes there without passing any hook.
//!
//! The file lists the mappings of ioremap, and those of memremap for memory that is not RAM
//! (`vmalloc_info_show()`, `s_show()` before 6.9, mm/vmalloc.c, 6.1 to 7.2). The kernel disguises
//! the addresses as its settings say. A line: `0x00000000f0f0f0f0-0x00000000f0f2f0f0    8192
//! init_phram+0x1a/0x30 [phram] phys=0x0000000048000000 ioremap`.

use std::thread;
use std::time::Duration;
use std::{fs, iter};

use super::uses::{MemoryUse, UseKind};
use super::{MapError, PAGE_SIZE, PhysRange, RangeSet, parse_address};

const VMALLOCINFO: &str = "/proc/vmallocinfo";
/// Number of reads. A read(2) of `/dev/mem` maps each page for a moment only, and must not count.
const LOOKS: usize = 8;
const BETWEEN: Duration = Duration::from_millis(10);

/// One mapping. Its address distinguishes it from other mappings of the same memory.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mapping {
    address: String,
    range: PhysRange,
    by: String,
}

/// The parts of `memory` that this kernel has mapped for itself, and keeps mapped.
///
/// # Errors
/// [`MapError`] when `/proc/vmallocinfo` cannot be read or has an unknown form.
pub fn mapped(memory: &RangeSet) -> Result<Vec<MemoryUse>, MapError> {
    kept(memory, iter::repeat_with(read).take(LOOKS))
}

fn read() -> Result<String, MapError> {
    fs::read_to_string(VMALLOCINFO)
        .map_err(|error| MapError::Read { path: VMALLOCINFO.to_owned(), error })
}

/// The mappings that are present in every read.
fn kept(
    memory: &RangeSet,
    mut looks: impl Iterator<Item = Result<String, MapError>>,
) -> Result<Vec<MemoryUse>, MapError> {
    let mut found = match looks.next() {
        Some(text) => mappings(&text?, memory)?,
        None => Vec::new(),
    };
    for text in looks {
        if found.is_empty() {
            break;
        }
        thread::sleep(BETWEEN);
        let again = mappings(&text?, memory)?;
        found.retain(|it| again.contains(it));
    }
    let uses = found.iter().flat_map(|mapping| {
        let kind = UseKind::Mapped(mapping.by.clone());
        memory.parts(&mapping.range).map(move |range| MemoryUse { range, kind: kind.clone() })
    });
    Ok(uses.collect())
}

/// The mappings that overlap `memory`.
fn mappings(text: &str, memory: &RangeSet) -> Result<Vec<Mapping>, MapError> {
    let mut found = Vec::new();
    for line in text.lines() {
        let form = || MapError::Form { path: VMALLOCINFO.to_owned(), line: line.to_owned() };
        let words: Vec<_> = line.split_whitespace().collect();
        let [address, size, rest @ ..] = words.as_slice() else { return Err(form()) };
        let Some(start) = rest.iter().find_map(|word| word.strip_prefix("phys=")) else { continue };
        // The size includes the guard page behind the mapping.
        let size = size.parse::<u64>().ok().and_then(|it| it.checked_sub(PAGE_SIZE));
        let start = parse_address(start).ok();
        let range = start.zip(size).and_then(|(start, size)| PhysRange::with_size(start, size));
        let range = range.ok_or_else(form)?;
        if memory.overlaps(&range) {
            let by = rest.iter().take_while(|word| !word.contains('=')).copied();
            let by = by.collect::<Vec<_>>().join(" ");
            found.push(Mapping { address: (*address).to_owned(), range, by });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "\
0x0000000011111111-0x0000000022222222    8192 memremap+0x10d/0x1e0 phys=0x0000000048000000 ioremap
0x0000000033333333-0x0000000044444444   20480 dup_task_struct+0x4b/0x1b0 pages=4 vmalloc N0=4
0x0000000055555555-0x0000000066666666   12288 phram_setup+0x1a/0x30 [phram] \
phys=0x0000000047fff000 ioremap
0x0000000077777777-0x0000000088888888    8192 pci_ecam+0x1/0x2 phys=0x00000000e0000000 ioremap
";

    fn memory() -> RangeSet {
        "0x48000000..0x50000000".parse().into_iter().collect()
    }

    /// Check that a lasting mapping is reported with its part of the memory and the function that
    /// made it, and that a momentary one is not.
    #[test]
    fn what_is_kept() {
        let without = |word: &str| {
            LISTED.lines().filter(|line| !line.contains(word)).map(|it| format!("{it}\n")).collect()
        };
        let reported = |looks: Vec<String>| {
            let uses = kept(&memory(), looks.into_iter().map(Ok)).unwrap();
            uses.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let phram = "0x48000000..0x48001000 is mapped by `phram_setup+0x1a/0x30 [phram]`";
        let reader = "0x48000000..0x48001000 is mapped by `memremap+0x10d/0x1e0`";
        assert_eq!(reported(vec![LISTED.to_owned(); 3]), [reader, phram]);
        assert_eq!(reported(vec![LISTED.to_owned(), without("memremap")]), [phram]);
        // The same page, through another mapping.
        let moved = LISTED.replace("0x0000000011111111", "0x0000000099999999");
        assert_eq!(reported(vec![LISTED.to_owned(), moved]), [phram]);
        assert!(reported(vec![without("phram"), without("memremap")]).is_empty());
    }

    /// Check that a line that cannot be parsed is an error, not proof that nothing is mapped.
    #[test]
    fn unknown_forms() {
        for line in [
            "0x1-0x2 8192 x phys=somewhere ioremap",
            "0x1-0x2 many x phys=0x48000000 ioremap",
            "0x1-0x2 4096 x phys=0x48000000 ioremap",
            "0x1-0x2 18446744073709551615 x phys=0x48000000 ioremap",
            "vmalloc",
        ] {
            let found = mappings(line, &memory());
            assert!(matches!(found, Err(MapError::Form { .. })), "{line}: {found:?}");
        }
        assert_eq!(mappings("0x1-0x2 4096 vmap x\n", &memory()).unwrap(), []);
    }
}
