//! Mappings in one arena, which the threads make, move, protect and unmap over one another.

use std::ffi::c_void;
use std::os::fd::AsRawFd;

use super::PAGE;
use super::tally::{Aim, Kind};
use super::world::{Random, World};

const READ: i32 = libc::PROT_READ;
const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;
const SIZE: usize = PAGE as usize;

/// Maps a page shared and writable by mmap(2), over whatever is there. Half of the time, a harmless
/// mapping comes first.
pub(super) fn mmap(world: &World, random: &mut Random) {
    if random.one_in(2) {
        map(world, world.page(1, random), READ, world.plan.via, 1, random);
    }
    let (aim, at) = world.aim_page(random);
    let page = world.page(1, random);
    let mapped = map(world, page, READ_WRITE, at, 1, random);
    if world.tally.count(Kind::Mmap, aim, mapped) {
        world.store(page, Kind::Mmap);
    }
    // A mapping that begins before the border and ends after it.
    if random.one_in(8) {
        let (page, at) = (world.page(2, random), world.plan.border - PAGE);
        let mapped = map(world, page, READ_WRITE, at, 2, random);
        world.tally.count(Kind::Mmap, Aim::Target, mapped);
    }
}

/// Makes a read-only mapping writable: a part of it, all of it, or a part with its neighbour.
pub(super) fn mprotect(world: &World, random: &mut Random) {
    let (_, at) = world.aim_page(random);
    let pages = 1 + random.below(2);
    let page = world.page(pages, random);
    map(world, page, READ, at - (pages - 1) * PAGE, pages, random);
    let first = if pages == 2 && random.one_in(2) { page.wrapping_byte_add(SIZE) } else { page };
    let length = SIZE * (1 + random.below(pages) as usize);
    let key: i64 = -1;
    // SAFETY: the address is in the arena, of which Rust knows nothing.
    let changed = unsafe {
        if random.one_in(2) {
            libc::mprotect(first, length, READ_WRITE).into()
        } else {
            libc::syscall(libc::SYS_pkey_mprotect, first, length, READ_WRITE, key)
        }
    };
    // By this time another thread may have mapped something else there.
    if world.tally.count(Kind::Mprotect, Aim::Either, changed) {
        world.store(first, Kind::Mprotect);
    }
}

/// Moves a writable mapping onto other memory by remap_file_pages(2). Half of the time, a harmless
/// mapping comes in between: the guard must not judge the move by it.
pub(super) fn remap_file_pages(world: &World, random: &mut Random) {
    let (aim, at) = world.aim_page(random);
    let (page, aim) = match aim {
        _ if random.one_in(2) => (world.own_pages(random), aim),
        // By this time another thread may have mapped the page read-only, and moving a read-only
        // mapping is allowed.
        Aim::Target => (world.page(2, random), Aim::TargetOrElse),
        _ => (world.page(2, random), aim),
    };
    map(world, page, READ_WRITE, world.plan.via, 2, random);
    if random.one_in(2) {
        map(world, world.page(1, random), READ, world.plan.via, 1, random);
    }
    let second = page.wrapping_byte_add(SIZE);
    // SAFETY: the address is in the arena.
    let moved = unsafe { libc::remap_file_pages(second, SIZE, 0, (at / PAGE) as usize, 0) };
    if world.tally.count(Kind::RemapFilePages, aim, moved.into()) {
        world.store(second, Kind::RemapFilePages);
    }
}

/// Tries a read-only mapping that is longer than any address space. The kernel refuses it soon,
/// after the guard's programs have run.
pub(super) fn refused(world: &World, random: &mut Random) {
    for _ in 0..64 {
        let page = world.own_pages(random);
        map(world, page, READ, world.plan.via, 1 << 48, random);
    }
}

/// Moves pages over others by mremap(2), unmaps some by munmap(2), and stores into whatever is
/// mapped by then.
pub(super) fn move_and_store(world: &World, random: &mut Random) {
    let (from, to) = (world.page(1, random), world.page(1, random));
    if from != to {
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        // SAFETY: both addresses are in the arena.
        let moved = unsafe { libc::mremap(from, SIZE, SIZE, flags, to) };
        let result = if moved == libc::MAP_FAILED { -1 } else { 0 };
        if world.tally.count(Kind::Mremap, Aim::Either, result) {
            world.store(to, Kind::Mremap);
        }
    }
    for _ in 0..4 {
        let stored = world.store(world.page(1, random), Kind::Store);
        world.tally.count(Kind::Store, Aim::Either, if stored { 0 } else { -1 });
    }
    if random.one_in(8) {
        // SAFETY: the address is in the arena.
        unsafe { libc::munmap(world.page(1, random), SIZE) };
    }
}

/// Maps physical memory over a place of the arena. Returns 0, or -1 with `errno` set.
pub(super) fn map(
    world: &World,
    to: *mut c_void,
    protection: i32,
    at: u64,
    pages: u64,
    random: &mut Random,
) -> i64 {
    let sharing = if random.one_in(2) { libc::MAP_SHARED } else { libc::MAP_SHARED_VALIDATE };
    let length = (pages * PAGE) as usize;
    let (flags, descriptor) = (sharing | libc::MAP_FIXED, world.device.as_raw_fd());
    // SAFETY: the address is in the arena, of which Rust knows nothing.
    let mapped = unsafe { libc::mmap(to, length, protection, flags, descriptor, at.cast_signed()) };
    if mapped == libc::MAP_FAILED { -1 } else { 0 }
}
