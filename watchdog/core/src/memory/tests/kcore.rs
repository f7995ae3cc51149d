//! Tests of `/proc/kcore`, and of `live` on top of it, over made-up files.

use std::os::unix::fs::FileExt;

use super::elf::{Load, core, data_offset};
use super::*;

pub(super) fn set(ranges: &[&str]) -> RangeSet {
    ranges.iter().map(|range| range.parse::<PhysRange>().unwrap()).collect()
}

/// A machine with RAM of this kernel at 0x1000 and 0x3000, and a device at 0x6000.
fn map() -> MemoryMap {
    MemoryMap {
        system_ram: set(&["0x1000..0x2000", "0x3000..0x3800"]),
        devices: set(&["0x6000..0x7000"]),
        ..MemoryMap::default()
    }
}

/// The kcore of that machine: the text mapping first (with other bytes), then both stretches of
/// RAM, a mapping without a physical address, and RAM that iomem does not list.
fn kcore_file() -> tempfile::NamedTempFile {
    let begin = data_offset(5);
    let at = |phys, offset, size, virt| Load { virt, ..Load::new(phys, begin + offset, size) };
    let direct = 0xffff_8880_0000_0000;
    let loads = [
        at(0x1100, 0x2000, 0x100, 0xffff_ffff_8100_0000),
        at(0x1000, 0, 0x1000, direct + 0x1000),
        at(0x3000, 0x1000, 0x400, direct + 0x3000),
        at(u64::MAX, 0, 0x1000, 0xffff_c900_0000_0000),
        at(0x5000, 0, 0x1000, direct + 0x5000),
    ];
    let data: Vec<u8> = [1, 2, 3].iter().flat_map(|byte| vec![*byte; 0x1000]).collect();
    file(&core(&loads, &data))
}

fn reason(memory: &dyn Memory, range: &str) -> String {
    let refusal = memory.refusal(&range.parse().unwrap()).unwrap();
    format!("{} {:?}", refusal.range, refusal.reason)
}

/// Check that kcore serves System RAM only through the direct map, and gives reasons for the rest.
#[test]
fn own_ram() {
    let file = kcore_file();
    let kcore = Kcore::open(file.path(), map(), None).unwrap();
    assert_eq!(*kcore.ranges(), set(&["0x1000..0x2000", "0x3000..0x3400"]));
    assert_eq!(kcore.direct_map(), VirtAddr(0xffff_8880_0000_0000));
    let mut bytes = [0; 0x200];
    kcore.read(PhysAddr(0x1000), &mut bytes).unwrap();
    assert_eq!(bytes, [1; 0x200], "the text mapping was read");
    kcore.read(PhysAddr(0x3200), &mut bytes).unwrap();
    assert_eq!(bytes, [2; 0x200]);
    assert_eq!(reason(&kcore, "0x1800..0x2800"), "0x2000..0x2800 NotSystemRam");
    assert_eq!(reason(&kcore, "0x3000..0x3800"), "0x3400..0x3800 NotInKcore");
    assert_eq!(reason(&kcore, "0x5000..0x6000"), "0x5000..0x6000 NotSystemRam");
    assert_eq!(reason(&kcore, "0x5000..0x6800"), "0x6000..0x6800 Device");
    let asked = set(&["0x1800..0x4000"]);
    let kcore = Kcore::open(file.path(), map(), Some(&asked)).unwrap();
    assert_eq!(reason(&kcore, "0x1000..0x1900"), "0x1000..0x1800 NotAsked");
}

/// Check that kcore refuses reads once the number of its segments changes, which moves their data.
#[test]
fn changed_layout() {
    let file = kcore_file();
    let kcore = Kcore::open(file.path(), map(), None).unwrap();
    file.as_file().write_all_at(&[6], 56).unwrap();
    let error = kcore.read(PhysAddr(0x1000), &mut [0; 8]).unwrap_err();
    assert!(
        matches!(&error, ReadError::Io { error, .. } if error.to_string().contains("start again"))
    );
}

/// Check that files that are not a kcore of this machine are refused.
#[test]
fn no_kcore() {
    assert!(matches!(Kcore::open(file(b"").path(), map(), None), Err(DumpError::NotElf)));
    let elsewhere = MemoryMap { system_ram: set(&["0x9000..0xa000"]), ..map() };
    let opened = Kcore::open(kcore_file().path(), elsewhere, None);
    assert!(matches!(opened, Err(DumpError::Empty)));
}

/// Check that live memory combines both sources, even in one read across them. With one source
/// alone, it serves what that source has and gives reasons for the rest.
#[test]
fn both_halves() {
    let core = kcore_file();
    let device = file(&[9; 0x8000]);
    let asked = set(&["0x0..0x8000"]);
    let beside = Live::beside_ram(&map(), &asked);
    assert_eq!(beside, set(&["0x0..0x1000", "0x2000..0x3000", "0x4000..0x6000", "0x7000..0x8000"]));
    let kcore = || Ok(Kcore::open(core.path(), map(), Some(&asked)).unwrap());
    let devmem = || Ok(DevMem::open_file(device.path(), beside.clone()).unwrap());

    let live = Live::new(map(), kcore(), devmem()).unwrap();
    assert!(live.remark().is_none());
    let mut bytes = [0; 0x3000];
    live.read(PhysAddr(0x400), &mut bytes).unwrap();
    let expected: Vec<u8> = [(9, 0xc00), (1, 0x1000), (9, 0x1000), (2, 0x400)]
        .iter()
        .flat_map(|&(byte, count)| vec![byte; count])
        .collect();
    assert_eq!(bytes[..], expected[..]);
    assert_eq!(reason(&live, "0x0..0x4000"), "0x3400..0x3800 NotInKcore");
    assert_eq!(reason(&live, "0x3800..0x4000"), "0x3800..0x4000 SharedPage");
    assert_eq!(reason(&live, "0x5000..0x7000"), "0x6000..0x7000 Device");

    let alone = Live::new(map(), kcore(), Err(SourceError::LockedDown)).unwrap();
    assert_eq!(alone.ranges(), kcore().unwrap().ranges());
    assert!(alone.remark().unwrap().contains("locked down"));
    assert_eq!(reason(&alone, "0x1000..0x2800"), "0x2000..0x2800 Unavailable(LockedDown)");
    let alone = Live::new(map(), Err(SourceError::NoKcore), devmem()).unwrap();
    assert_eq!(*alone.ranges(), beside);
    assert!(alone.remark().unwrap().contains("CONFIG_PROC_KCORE"));
    assert_eq!(reason(&alone, "0x0..0x2000"), "0x1000..0x2000 Unavailable(NoKcore)");
    let neither = Live::new(map(), Err(SourceError::NoKcore), Err(SourceError::LockedDown));
    let error = neither.unwrap_err().to_string();
    assert!(error.contains("CONFIG_PROC_KCORE") && error.contains("locked down"), "{error}");
}
