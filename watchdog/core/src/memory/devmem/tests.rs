//! Tests over files with the layout of `/dev/mem`.

use std::io::Write;

use super::super::windows::WINDOWS_KEPT;
use super::*;

/// Check that a read of revoked memory is an error, and that the memory beside it stays
/// readable. Once the memory is back, it is readable again.
#[test]
fn revocation() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let fill = |size: u64| {
        file.as_file().set_len(size).unwrap();
        std::os::unix::fs::FileExt::write_at(file.as_file(), b"there", size - 5).unwrap();
    };
    fill(0x4000);
    let all = PhysRange::new(PhysAddr(0), PhysAddr(0x4000)).unwrap();
    let memory = DevMem::open_file(file.path(), RangeSet::from_iter([all])).unwrap();
    let mut bytes = [0; 5];
    memory.read(PhysAddr(0x3ffb), &mut bytes).unwrap();
    file.as_file().set_len(0x1000).unwrap();
    let error = memory.read(PhysAddr(0x3ffb), &mut bytes).unwrap_err();
    assert!(matches!(error, ReadError::Io { .. }), "{error:?}");
    memory.read(PhysAddr(0xffb), &mut bytes).unwrap();
    fill(0x4000);
    memory.read(PhysAddr(0x3ffb), &mut bytes).unwrap();
    assert_eq!(&bytes, b"there");
}

/// Memory of three windows, each page with its number in its first bytes. The made-up kernel
/// refuses the pages from the second one before the first border on, to the second one behind.
fn claimed_memory(file: &tempfile::NamedTempFile) -> (DevMem, PhysRange) {
    let size = 3 * WINDOW;
    file.as_file().set_len(size).unwrap();
    for page in [0, WINDOW - 3 * PAGE_SIZE, WINDOW + 2 * PAGE_SIZE, size - PAGE_SIZE] {
        let number = (page / PAGE_SIZE).to_le_bytes();
        std::os::unix::fs::FileExt::write_at(file.as_file(), &number, page).unwrap();
    }
    let all = PhysRange::new(PhysAddr(0), PhysAddr(size)).unwrap();
    let memory = DevMem::open_file(file.path(), RangeSet::from_iter([all])).unwrap();
    let claim = PhysAddr(WINDOW - 2 * PAGE_SIZE);
    let claim = PhysRange::with_size(claim, 4 * PAGE_SIZE).unwrap();
    memory.refused.lock().unwrap().insert(claim);
    (memory, claim)
}

fn page_number(memory: &DevMem, at: u64) -> Result<u64, ReadError> {
    let mut bytes = [0; 8];
    memory.read(PhysAddr(at), &mut bytes).map(|()| u64::from_le_bytes(bytes) * PAGE_SIZE)
}

/// Check that claimed pages take nothing else away from the source, and that their refusal
/// names the driver. Check that a claim that the kernel allows to be read is served.
#[test]
fn claimed_before() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (memory, claim) = claimed_memory(&file);
    let allowed = "0x3000..0x4000".parse().unwrap();
    let map = MemoryMap {
        claimed: vec![(claim, "ramoops:dump(0/1)".to_owned()), (allowed, "x".to_owned())],
        ..MemoryMap::default()
    };
    let memory = memory.explained_by(map);
    assert_eq!(memory.ranges().size(), 3 * WINDOW - claim.size());
    for at in [0, claim.start().0 - PAGE_SIZE, claim.end().0, 3 * WINDOW - PAGE_SIZE] {
        assert_eq!(page_number(&memory, at).unwrap(), at);
    }
    let refused = page_number(&memory, claim.start().0).unwrap_err();
    assert!(refused.is_claimed() && refused.to_string().contains("ramoops:dump(0/1)"));
    page_number(&memory, 0x3000).unwrap();
}

/// Check that pages which a driver claims later are refused as such, and that the memory beside
/// them stays readable.
#[test]
fn claimed_later() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (memory, claim) = claimed_memory(&file);
    for at in [0, claim.start().0 - PAGE_SIZE, claim.end().0, 3 * WINDOW - PAGE_SIZE] {
        assert_eq!(page_number(&memory, at).unwrap(), at);
    }
    for at in [claim.start().0, claim.end().0 - 8] {
        let refused = page_number(&memory, at).unwrap_err();
        assert!(refused.is_claimed(), "{refused:?}");
    }
    let mut both = [0; 16];
    assert!(memory.read(PhysAddr(claim.start().0 - 8), &mut both).unwrap_err().is_claimed());
}

/// Check that reads across window borders return the device's bytes. Check that the least
/// recently used windows are dropped, and that nothing outside the ranges is served.
#[test]
fn windows() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let size = WINDOW * (WINDOWS_KEPT as u64 + 2);
    file.as_file().set_len(size).unwrap();
    file.write_all(&[7; 16]).unwrap();
    std::os::unix::fs::FileExt::write_at(file.as_file(), b"border", WINDOW - 3).unwrap();
    let all = PhysRange::new(PhysAddr(0), PhysAddr(size)).unwrap();
    let memory = DevMem::open_file(file.path(), RangeSet::from_iter([all])).unwrap();

    let mut bytes = [0; 6];
    memory.read(PhysAddr(WINDOW - 3), &mut bytes).unwrap();
    assert_eq!(&bytes, b"border");
    for window in 0..WINDOWS_KEPT as u64 + 2 {
        memory.read(PhysAddr(window * WINDOW), &mut bytes).unwrap();
        // A window that is used in every round stays.
        memory.read(PhysAddr(WINDOW), &mut bytes).unwrap();
    }
    let starts: Vec<_> = memory.windows.lock().unwrap().kept.keys().copied().collect();
    assert_eq!(starts.len(), WINDOWS_KEPT);
    let expected = [1].into_iter().chain(3..WINDOWS_KEPT as u64 + 2);
    assert_eq!(starts, expected.map(|n| PhysAddr(n * WINDOW)).collect::<Vec<_>>());
    memory.read(PhysAddr(0), &mut bytes).unwrap();
    assert_eq!(bytes, [7; 6]);
    assert!(matches!(memory.read(PhysAddr(size - 3), &mut bytes), Err(ReadError::Refused { .. })));
}
