//! The canary page: memory on which the self-test tries what the guard must deny.
//!
//! It is in the system ROM. Writes to it have no effect, even if no program denies them. Each test
//! writes back the bytes that it just read. `/dev/mem` serves memory below 1 MiB whatever
//! CONFIG_STRICT_DEVMEM says (`devmem_is_allowed`, arch/x86/mm/init.c, 6.1 to 7.2).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::ptr;

use watchdog_common::Range;

use watchdog_core::memory::open_device;

/// The last page below 1 MiB, with the reset vector.
pub(super) const CANARY: Range = Range { start: 0xf_f000, end: 0x10_0000 };
/// The page before it, to which no program denies access. The tests of the paths `held`, `frames`
/// and `ioremap` use it: their programs act on access that succeeds.
pub(super) const INNER_CANARY: Range = Range { start: 0xf_e000, end: 0xf_f000 };
const PAGE: usize = 4096;

/// Why there is no canary page.
#[derive(Debug, thiserror::Error)]
#[error(
    "/dev/mem cannot be opened ({0}), so the guard cannot be tested. If the kernel is locked \
     down, these paths are already closed. `watchdog scan` and a memory image need no guard"
)]
pub struct CanaryError(#[from] io::Error);

/// The canary page, accessed by an open `/dev/mem`.
#[derive(Debug)]
pub(super) struct Canary {
    device: File,
    /// Whether the device is open for writing. Some tests need that.
    pub(super) is_writable: bool,
}

impl Canary {
    /// Opens the device for writing.
    pub(super) fn open() -> Result<Self, CanaryError> {
        Ok(Self { device: open_device(true)?, is_writable: true })
    }

    /// Opens the device for reading, where no process may have it open for writing.
    pub(super) fn open_for_reading() -> Result<Self, CanaryError> {
        Ok(Self { device: open_device(false)?, is_writable: false })
    }

    /// Tests path `open`.
    pub(super) fn try_open() -> io::Result<()> {
        open_device(true).map(drop)
    }

    /// Tests path `write`: writes the bytes that are there.
    pub(super) fn try_write(&self) -> io::Result<()> {
        let mut bytes = [0; 8];
        self.device.read_exact_at(&mut bytes, CANARY.start)?;
        self.device.write_all_at(&bytes, CANARY.start)
    }

    /// Tests path `mmap` with MAP_SHARED and MAP_SHARED_VALIDATE. It counts as denied only if both
    /// are denied.
    pub(super) fn try_mmap(&self) -> io::Result<()> {
        let writable = libc::PROT_READ | libc::PROT_WRITE;
        for sharing in [libc::MAP_SHARED, libc::MAP_SHARED_VALIDATE] {
            match self.map(CANARY.start, 1, writable, sharing) {
                Ok(_mapping) => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::from_raw_os_error(libc::EPERM))
    }

    /// Tests path `remap-file-pages`: moves the second page of an allowed writable mapping onto the
    /// canary page. The mapping is shared, and this function never writes to it.
    pub(super) fn try_remap(&self) -> io::Result<()> {
        let writable = libc::PROT_READ | libc::PROT_WRITE;
        let mapping = self.map(INNER_CANARY.start - PAGE as u64, 2, writable, libc::MAP_SHARED)?;
        let pgoff = CANARY.start as usize / PAGE;
        // SAFETY: the second page of this function's own mapping, to which no reference exists.
        let result =
            unsafe { libc::remap_file_pages(mapping.at.byte_add(PAGE), PAGE, 0, pgoff, 0) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Tests path `mprotect`.
    pub(super) fn try_mprotect(&self) -> io::Result<()> {
        let mapping = self.map(CANARY.start, 1, libc::PROT_READ, libc::MAP_SHARED)?;
        // SAFETY: this function's own mapping, to which no reference exists.
        let result =
            unsafe { libc::mprotect(mapping.at, PAGE, libc::PROT_READ | libc::PROT_WRITE) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Tests paths `held` and `frames`: makes a mapping that no program denies. It lasts as long as
    /// the returned value.
    pub(super) fn try_frames(&self) -> io::Result<impl Sized + use<>> {
        let writable = libc::PROT_READ | libc::PROT_WRITE;
        self.map(INNER_CANARY.start, 1, writable, libc::MAP_SHARED)
    }

    /// Tests path `ioremap`: the kernel maps what it reads for `/dev/mem`.
    pub(super) fn try_ioremap(&self) -> io::Result<()> {
        self.device.read_exact_at(&mut [0; 8], INNER_CANARY.start)
    }

    fn map(&self, at: u64, pages: usize, protection: i32, sharing: i32) -> io::Result<Mapping> {
        let length = pages * PAGE;
        // SAFETY: the kernel chooses the address of the new mapping, and only `Mapping` uses it.
        let mapped = unsafe {
            let (device, offset) = (self.device.as_raw_fd(), at.cast_signed());
            libc::mmap(ptr::null_mut(), length, protection, sharing, device, offset)
        };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Mapping { at: mapped, length })
    }
}

/// A mapping that is unmapped when this is dropped.
struct Mapping {
    at: *mut libc::c_void,
    length: usize,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `Canary::map`, unmapped once.
        unsafe { libc::munmap(self.at, self.length) };
    }
}
