//! Guarded frames that processes have mapped writable. One of the guard's programs lists them. It
//! also lists mappings of `/dev/mem` with other frames that may not be written.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use watchdog_common::{PageTables, SharedFrames};

use super::bpf;
use super::canary::INNER_CANARY;
use super::processes::Device;
use watchdog_core::memory::{MemoryMap, PhysAddr, PhysRange, VirtAddr, open_kcore};

/// The name of the program that makes the list.
pub(super) const PROGRAM: &str = "shared_frames";
/// Number of bits for the minor in a device's number (include/linux/kdev_t.h).
const MINOR_BITS: u32 = 20;
/// The most mappings that one list may have.
const MOST: usize = 1 << 16;
/// How long the kernel may take to make a list. A process can keep its list of mappings locked.
const LISTING_TIMEOUT: Duration = Duration::from_secs(10);
/// The start of the kernel's half of virtual memory with four levels of page tables. With five
/// levels it starts lower (Documentation/arch/x86/x86_64/mm.rst, 6.12).
const FOUR_LEVELS: VirtAddr = VirtAddr(0xffff_8000_0000_0000);

/// A process's mapping of guarded frames, or of the canary page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapped {
    pub(super) pid: u32,
    /// The device whose file is mapped.
    pub(super) device: Device,
    /// The physical range of the frames; `None` where the walk could not follow the mapping.
    pub(super) range: Option<PhysRange>,
}

impl Mapped {
    fn of(record: &SharedFrames) -> Self {
        Self {
            pid: record.tgid,
            device: (record.device >> MINOR_BITS, record.device & ((1 << MINOR_BITS) - 1)),
            range: PhysRange::with_size(PhysAddr(record.start), record.bytes),
        }
    }

    /// Whether this is the inner canary page.
    pub(super) fn is_canary(&self) -> bool {
        self.range.is_some_and(|range| range.start().0 == INNER_CANARY.start)
    }
}

/// Where this kernel's page tables are, from `/proc/kcore`.
///
/// # Errors
/// A sentence why this is unknown.
pub(super) fn page_tables() -> Result<PageTables, String> {
    let map = MemoryMap::of_this_machine().map_err(|error| error.to_string())?;
    let kcore = open_kcore(&map, None).map_err(|error| watchdog_core::text::chain(&error))?;
    let direct_map = kcore.direct_map();
    let levels = if direct_map < FOUR_LEVELS { 5 } else { 4 };
    Ok(PageTables { direct_map: direct_map.0, levels })
}

/// The list of mapped frames.
#[derive(Clone, Debug)]
pub(super) struct Frames {
    program: Arc<OwnedFd>,
    /// Whether the thread that reads a list has not finished yet.
    is_stuck: Arc<AtomicBool>,
}

impl Frames {
    pub(super) fn new(program: OwnedFd) -> Self {
        Self { program: Arc::new(program), is_stuck: Arc::default() }
    }

    /// Every writable mapping of frames that no process may write.
    ///
    /// # Errors
    /// When the kernel cannot make the list, or not within [`LISTING_TIMEOUT`].
    pub(super) fn mapped(&self) -> io::Result<Vec<Mapped>> {
        if self.is_stuck.swap(true, Ordering::SeqCst) {
            return Err(late());
        }
        let (program, is_stuck) = (self.program.clone(), self.is_stuck.clone());
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let found = bpf::list(program.as_fd()).and_then(read);
            is_stuck.store(false, Ordering::SeqCst);
            // After the timeout there is no receiver.
            let _ = sender.send(found);
        });
        receiver.recv_timeout(LISTING_TIMEOUT).unwrap_or_else(|_| Err(late()))
    }
}

fn late() -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        "the kernel cannot finish walking the processes' mappings: a process keeps its own locked",
    )
}

/// Reads the list to its end.
fn read(mut list: impl Read) -> io::Result<Vec<Mapped>> {
    const SIZE: usize = size_of::<SharedFrames>();
    let (mut bytes, mut found) = (Vec::new(), Vec::new());
    let mut part = [0; 64 * SIZE];
    loop {
        match list.read(&mut part) {
            Ok(0) if bytes.is_empty() => return Ok(found),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => bytes.extend_from_slice(part.get(..count).unwrap_or_default()),
            // The kernel returns this after a million mappings of which it lists none.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        let (records, rest) = bytes.as_chunks::<SIZE>();
        found.extend(records.iter().map(|record| Mapped::of(&parse(record))));
        bytes = rest.to_vec();
        if found.len() > MOST {
            return Err(io::Error::other("there are too many mappings of guarded memory"));
        }
    }
}

fn parse(record: &[u8; size_of::<SharedFrames>()]) -> SharedFrames {
    let [words @ .., last] = record.as_chunks::<8>().0 else { return SharedFrames::default() };
    let [start, bytes] = words else { return SharedFrames::default() };
    let (tgid, device) = last.split_at(4);
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_ne_bytes);
    SharedFrames {
        start: u64::from_ne_bytes(*start),
        bytes: u64::from_ne_bytes(*bytes),
        tgid: word(tgid),
        device: word(device),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a few bytes at a time, and `WouldBlock` in between.
    struct Hesitant(Vec<u8>, bool);

    impl Read for Hesitant {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let count = self.0.len().min(7);
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0.drain(..count);
            Ok(count)
        }
    }

    /// Check that the list is read whole even in small pieces, and that a mapping which was not
    /// followed has no range. Check that a list which ends within an entry is an error.
    #[test]
    fn list() {
        let record = |start: u64, bytes: u64, pid: u32, device: u32| {
            let words = [start.to_ne_bytes(), bytes.to_ne_bytes()].concat();
            [words, [pid.to_ne_bytes(), device.to_ne_bytes()].concat()].concat()
        };
        let whole =
            [record(INNER_CANARY.start, 0x1000, 7, 0x10_0001), record(0x5000, 0, 8, 0)].concat();
        let found = read(Hesitant(whole.clone(), false)).expect("a list");
        let [canary, anywhere] = found[..] else { panic!("{found:?}") };
        assert!(canary.is_canary() && canary.device == (1, 1) && canary.pid == 7, "{canary:?}");
        assert_eq!(anywhere, Mapped { pid: 8, device: (0, 0), range: None });
        assert!(read(Hesitant(whole[..30].to_vec(), false)).is_err());
    }
}
