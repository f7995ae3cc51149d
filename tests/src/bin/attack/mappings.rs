//! Writes through mappings.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

pub(crate) const PAGE: u64 = 4096;
const READ: i32 = libc::PROT_READ;
pub(crate) const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;

/// mmap(2), writable, and a store.
pub(crate) fn mmap(device: &File, at: u64, value: u8, sharing: i32) -> io::Result<()> {
    Mapping::new(device, at, 1, READ_WRITE, sharing)?.store(at, value);
    Ok(())
}

/// mmap(2) of a device's first page, writable, and a store where the address is in its page.
pub(crate) fn device_mmap(device: &File, at: u64, value: u8) -> io::Result<()> {
    mmap(device, at % PAGE, value, libc::MAP_SHARED)
}

/// mmap(2), read-only, and a load: the byte at a physical address.
pub(crate) fn load(device: &File, at: u64) -> io::Result<u8> {
    let mapping = Mapping::new(device, at, 1, READ, libc::MAP_SHARED)?;
    // SAFETY: inside the mapping, which is readable.
    Ok(unsafe { ptr::read_volatile(mapping.byte(at % PAGE)) })
}

/// A writable mapping of two pages that are allowed; the second one is moved onto the target.
pub(crate) fn remap_file_pages(device: &File, at: u64, value: u8, via: u64) -> io::Result<()> {
    let mapping = Mapping::new(device, via, 2, READ_WRITE, libc::MAP_SHARED)?;
    let second = mapping.byte(PAGE);
    let (size, page) = (PAGE as usize, (at / PAGE) as usize);
    // SAFETY: the second page of a mapping of this function's own.
    checked(unsafe { libc::remap_file_pages(second.cast(), size, 0, page, 0) })?;
    // SAFETY: the page is mapped writable.
    unsafe { ptr::write_volatile(mapping.byte(PAGE + at % PAGE), value) };
    Ok(())
}

/// A read-only shared mapping made writable by mprotect(2), and a store.
pub(crate) fn mprotect(device: &File, at: u64, value: u8) -> io::Result<()> {
    let mapping = Mapping::new(device, at, 1, READ, libc::MAP_SHARED)?;
    // SAFETY: a mapping of this function's own.
    checked(unsafe { libc::mprotect(mapping.start, PAGE as usize, READ_WRITE) })?;
    mapping.store(at, value);
    Ok(())
}

/// The same by pkey_mprotect(2), with the key that is always there.
pub(crate) fn pkey_mprotect(device: &File, at: u64, value: u8) -> io::Result<()> {
    const DEFAULT_KEY: i32 = -1;
    let mapping = Mapping::new(device, at, 1, READ, libc::MAP_SHARED)?;
    // SAFETY: a mapping of this function's own.
    let result = unsafe {
        libc::syscall(libc::SYS_pkey_mprotect, mapping.start, PAGE, READ_WRITE, DEFAULT_KEY)
    };
    checked(result as i32)?;
    mapping.store(at, value);
    Ok(())
}

/// Two pages mapped read-only, of which only the first, before the target, is made writable.
pub(crate) fn mprotect_beside(device: &File, at: u64) -> io::Result<()> {
    let mapping = Mapping::new(device, at - PAGE, 2, READ, libc::MAP_SHARED)?;
    // SAFETY: a mapping of this function's own.
    checked(unsafe { libc::mprotect(mapping.start, PAGE as usize, READ_WRITE) })
}

/// A mapping of whole pages around a physical address; ends with its owner.
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
        // SAFETY: a new mapping where the kernel likes; nothing else refers to it.
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

    /// Stores at a physical address of the first page.
    pub(crate) fn store(&self, at: u64, value: u8) {
        // SAFETY: inside the mapping, which was made writable.
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
