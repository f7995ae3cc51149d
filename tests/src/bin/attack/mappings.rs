//! Writes through mappings.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

pub(crate) const PAGE: u64 = 4096;
const READ: i32 = libc::PROT_READ;
pub(crate) const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;

/// Maps the device writable by mmap(2), and stores a byte.
pub(crate) fn mmap(device: &File, at: u64, value: u8, sharing: i32) -> io::Result<()> {
    Mapping::new(device, at, 1, READ_WRITE, sharing)?.store(at, value);
    Ok(())
}

/// Maps a device's first page writable by mmap(2), and stores a byte at the address's offset in its
/// page.
pub(crate) fn device_mmap(device: &File, at: u64, value: u8) -> io::Result<()> {
    mmap(device, at % PAGE, value, libc::MAP_SHARED)
}

/// Returns the byte at a physical address, by a read-only mmap(2) and a load.
pub(crate) fn load(device: &File, at: u64) -> io::Result<u8> {
    let mapping = Mapping::new(device, at, 1, READ, libc::MAP_SHARED)?;
    // SAFETY: inside the mapping, which is readable.
    Ok(unsafe { ptr::read_volatile(mapping.byte(at % PAGE)) })
}

/// Maps two allowed pages writable, and moves the second one onto the target.
pub(crate) fn remap_file_pages(device: &File, at: u64, value: u8, via: u64) -> io::Result<()> {
    let mapping = Mapping::new(device, via, 2, READ_WRITE, libc::MAP_SHARED)?;
    let second = mapping.byte(PAGE);
    let (size, page) = (PAGE as usize, (at / PAGE) as usize);
    // SAFETY: this is the second page of a mapping that this function made.
    checked(unsafe { libc::remap_file_pages(second.cast(), size, 0, page, 0) })?;
    // SAFETY: the page is mapped writable.
    unsafe { ptr::write_volatile(mapping.byte(PAGE + at % PAGE), value) };
    Ok(())
}

/// Makes a read-only shared mapping writable by mprotect(2), and stores a byte.
pub(crate) fn mprotect(device: &File, at: u64, value: u8) -> io::Result<()> {
    let mapping = Mapping::new(device, at, 1, READ, libc::MAP_SHARED)?;
    // SAFETY: this function made the mapping.
    checked(unsafe { libc::mprotect(mapping.start, PAGE as usize, READ_WRITE) })?;
    mapping.store(at, value);
    Ok(())
}

/// Does the same by pkey_mprotect(2), with the default key.
pub(crate) fn pkey_mprotect(device: &File, at: u64, value: u8) -> io::Result<()> {
    const DEFAULT_KEY: i32 = -1;
    let mapping = Mapping::new(device, at, 1, READ, libc::MAP_SHARED)?;
    // SAFETY: this function made the mapping.
    let result = unsafe {
        libc::syscall(libc::SYS_pkey_mprotect, mapping.start, PAGE, READ_WRITE, DEFAULT_KEY)
    };
    checked(result as i32)?;
    mapping.store(at, value);
    Ok(())
}

/// Maps two pages read-only, and makes only the first one writable. The target is the second page.
pub(crate) fn mprotect_beside(device: &File, at: u64) -> io::Result<()> {
    let mapping = Mapping::new(device, at - PAGE, 2, READ, libc::MAP_SHARED)?;
    // SAFETY: this function made the mapping.
    checked(unsafe { libc::mprotect(mapping.start, PAGE as usize, READ_WRITE) })
}

/// A mapping of whole pages around a physical address, unmapped on drop.
pub(crate) struct Mapping {
    pub(crate) start: *mut libc::c_void,
    length: usize,
}

impl Mapping {
    pub(crate) fn new(
        device: &File,
        at: u64,
        pages: u64,
        protection: i32,
        sharing: i32,
    ) -> io::Result<Self> {
        let length = (pages * PAGE) as usize;
        let offset = (at & !(PAGE - 1)).cast_signed();
        // SAFETY: a new mapping at an address that the kernel chooses. Nothing else refers to it.
        let start = unsafe {
            libc::mmap(ptr::null_mut(), length, protection, sharing, device.as_raw_fd(), offset)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start, length })
    }

    fn byte(&self, offset: u64) -> *mut u8 {
        assert!((offset as usize) < self.length);
        self.start.cast::<u8>().wrapping_add(offset as usize)
    }

    /// Stores a byte at a physical address of the first page.
    pub(crate) fn store(&self, at: u64, value: u8) {
        // SAFETY: the address is inside the mapping, which is writable.
        unsafe { ptr::write_volatile(self.byte(at % PAGE), value) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, unmapped once.
        unsafe { libc::munmap(self.start, self.length) };
    }
}

pub(crate) fn checked(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
