//! Single system calls, in batches that alternate.

use std::ffi::{CStr, c_void};
use std::fs;
use std::os::fd::AsRawFd;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

const PAGE: usize = 4096;
/// On a tmpfs, so that no disk is involved.
const FILE: &CStr = c"/dev/shm/cost";
/// Enough pages for three levels in the tree of the process's mappings (`mm_mt`, a maple tree),
/// whatever else is mapped.
const PAGES: usize = 224;
/// Distance between pages that a batch changes, so that they are spread over the tree's nodes.
const STRIDE: usize = 7;

/// Maps the file in place of an existing mapping.
const MAP_OVER: i32 = libc::MAP_SHARED | libc::MAP_FIXED;

/// Descriptors and mappings that the calls use.
struct Tools {
    file: OwnedFd,
    zero: OwnedFd,
    null: OwnedFd,
    /// Shared mappings of the file's page. The mappings on both sides of each are of another kind.
    pages: Vec<*mut c_void>,
}

/// One call, or a call and another one that undoes it. Returns whether it succeeded.
type Call = fn(&Tools, u32) -> bool;

const CALLS: [(&str, Call); 9] = [
    ("getppid", getppid),
    ("open+close", open),
    ("pread, 1 byte, a file", |tools, _| pread(tools.file.as_raw_fd())),
    ("pwrite, 1 byte, a file", |tools, _| pwrite(tools.file.as_raw_fd())),
    ("pread, 1 byte, /dev/zero", |tools, _| pread(tools.zero.as_raw_fd())),
    ("pwrite, 1 byte, /dev/null", |tools, _| pwrite(tools.null.as_raw_fd())),
    ("mmap+munmap, a page of a file", mmap),
    ("mmap+munmap, an anonymous page", mmap_anonymous),
    ("mprotect, a page of a file", mprotect),
];

/// Returns the median of each call's batches, or the minimum, in nanoseconds per call.
pub(crate) fn measure(batches: usize, size: u32, least: bool) -> Result<Value> {
    ensure!(batches > 0 && size > 0, "no batch and no median: give at least 1 of each");
    fs::write(FILE.to_str()?, [0; PAGE])?;
    let tools = Tools::new()?;
    let mut times: Vec<Vec<f64>> = vec![Vec::with_capacity(batches); CALLS.len()];
    // One extra batch, which does not count: the first batch has all the cache misses.
    for batch in 0..=batches {
        for ((name, call), times) in CALLS.iter().zip(&mut times) {
            let begun = processor_time()?;
            let failed = (0..size).find(|n| !call(&tools, *n));
            let took = processor_time()? - begun;
            ensure!(failed.is_none(), "{name}: {}", std::io::Error::last_os_error());
            if batch > 0 {
                times.push(took / f64::from(size));
            }
        }
    }
    fs::remove_file(FILE.to_str()?)?;
    let stands = if least { 0 } else { batches / 2 };
    let times = CALLS.iter().zip(times).map(|((name, _), mut times)| {
        times.sort_by(f64::total_cmp);
        ((*name).to_owned(), Value::from(times[stands]))
    });
    Ok(Value::Object(times.collect::<Map<_, _>>()))
}

impl Tools {
    fn new() -> Result<Self> {
        let file = opened(FILE)?;
        let pages = pages(file.as_raw_fd())?;
        Ok(Self { file, zero: opened(c"/dev/zero")?, null: opened(c"/dev/null")?, pages })
    }
}

/// Maps the file's page over every second page of an inaccessible area.
fn pages(descriptor: RawFd) -> Result<Vec<*mut c_void>> {
    let area = (2 * PAGES + 1) * PAGE;
    // SAFETY: a new mapping at an address that the kernel chooses. The pages mapped over it are
    // inside it.
    let pages: Vec<_> = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let area = libc::mmap(ptr::null_mut(), area, libc::PROT_NONE, flags, -1, 0);
        ensure!(area != libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        (0..PAGES).map(|n| map(area.byte_add((2 * n + 1) * PAGE), descriptor, MAP_OVER)).collect()
    };
    ensure!(!pages.contains(&libc::MAP_FAILED), "{}", std::io::Error::last_os_error());
    // mprotect of a page that was never accessed took 2722 instructions in one run and 2901 in
    // another (Linux 6.12): a page table exists already if an access nearby made one. Therefore
    // access all pages first.
    //
    // SAFETY: these are bytes of the file's page, and nothing else refers to them.
    pages.iter().for_each(|page| unsafe { page.cast::<u8>().write_volatile(0) });
    Ok(pages)
}

fn opened(name: &CStr) -> Result<OwnedFd> {
    // SAFETY: the name is a C string. The descriptor is new and has no other owner.
    unsafe {
        let descriptor = libc::open(name.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        ensure!(descriptor >= 0, "{name:?}: {}", std::io::Error::last_os_error());
        Ok(OwnedFd::from_raw_fd(descriptor))
    }
}

/// Processor time of this thread in nanoseconds.
fn processor_time() -> Result<f64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is a local.
    let got = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    (got == 0).then_some(()).context("this thread has no clock")?;
    Ok(time.tv_sec as f64 * 1e9 + time.tv_nsec as f64)
}

/// The smallest possible call. The guard does not run for it, so a difference is not the guard's.
fn getppid(_: &Tools, _: u32) -> bool {
    // SAFETY: takes nothing.
    unsafe { libc::getppid() >= 0 }
}

fn open(_: &Tools, _: u32) -> bool {
    // SAFETY: the name is a C string; the descriptor is closed once.
    unsafe {
        let descriptor = libc::open(FILE.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        descriptor >= 0 && libc::close(descriptor) == 0
    }
}

fn pread(descriptor: RawFd) -> bool {
    let mut byte = 0_u8;
    // SAFETY: the call writes one byte of a local.
    unsafe { libc::pread(descriptor, (&raw mut byte).cast(), 1, 0) == 1 }
}

fn pwrite(descriptor: RawFd) -> bool {
    // SAFETY: the call reads one byte of a constant.
    unsafe { libc::pwrite(descriptor, c"".as_ptr().cast(), 1, 0) == 1 }
}

fn mmap(tools: &Tools, _: u32) -> bool {
    // SAFETY: a new mapping that nothing refers to, and its removal.
    unsafe {
        let page = map(ptr::null_mut(), tools.file.as_raw_fd(), libc::MAP_SHARED);
        page != libc::MAP_FAILED && libc::munmap(page, PAGE) == 0
    }
}

fn mmap_anonymous(_: &Tools, _: u32) -> bool {
    // SAFETY: as above.
    unsafe {
        let page = map(ptr::null_mut(), -1, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        page != libc::MAP_FAILED && libc::munmap(page, PAGE) == 0
    }
}

/// # Safety
/// The caller must not use the page after its file has become shorter. If the flags replace the
/// mapping at `to`, nothing may refer to that mapping.
unsafe fn map(to: *mut c_void, descriptor: RawFd, flags: i32) -> *mut c_void {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping, at an address for which the caller is responsible.
    unsafe { libc::mmap(to, PAGE, protection, flags, descriptor, 0) }
}

/// Makes one page after another read-only and writable again: the kernel does nothing for a call
/// that changes nothing.
fn mprotect(tools: &Tools, n: u32) -> bool {
    let page = tools.pages[n as usize / 2 * STRIDE % PAGES];
    let write = if n.is_multiple_of(2) { 0 } else { libc::PROT_WRITE };
    // SAFETY: only the kernel accesses the page.
    unsafe { libc::mprotect(page, PAGE, libc::PROT_READ | write) == 0 }
}
