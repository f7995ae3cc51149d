//! Calls whose descriptor, position or vectors another thread changes while they run.

use std::os::fd::AsRawFd;
use std::ptr;

use super::PAGE;
use super::tally::{Aim, Kind};
use super::world::{Random, World};

/// write(2) at the position that the threads share.
pub(super) fn write(world: &World, random: &mut Random) {
    seek(world, random);
    // SAFETY: the bytes are the world's.
    let written = unsafe { libc::write(world.device.as_raw_fd(), world.value.as_ptr().cast(), 1) };
    world.tally.count(Kind::Write, Aim::Either, written as i64);
}

/// writev(2) at the same position, with vectors that change.
pub(super) fn writev(world: &World, random: &mut Random) {
    seek(world, random);
    let (vectors, count) = world.vectors();
    // SAFETY: the vectors are the world's; the kernel copies them and checks where they lead.
    let written = unsafe { libc::writev(world.device.as_raw_fd(), vectors, count) };
    if written != 0 {
        world.tally.count(Kind::Writev, Aim::Either, written as i64);
    }
}

/// Moves the shared position. Writes that run on from there need a page of their own.
fn seek(world: &World, random: &mut Random) {
    let kind = if random.one_in(2) { Kind::Write } else { Kind::Writev };
    let at = match world.aim(kind, random) {
        (Aim::Allowed, at) => at + PAGE,
        (_, at) => at,
    };
    // SAFETY: changes nothing but the position.
    unsafe { libc::lseek(world.device.as_raw_fd(), at.cast_signed(), libc::SEEK_SET) };
}

/// pwrite(2) by a descriptor that stays, or by one that is another file by the time.
pub(super) fn pwrite(world: &World, random: &mut Random) {
    let (aim, at) = world.aim(Kind::Pwrite, random);
    let (descriptor, aim) = match aim {
        _ if random.one_in(2) => (world.device.as_raw_fd(), aim),
        Aim::Target => (world.changing.as_raw_fd(), Aim::TargetOrElse),
        _ => (world.changing.as_raw_fd(), aim),
    };
    let bytes = world.value.as_ptr().cast();
    // SAFETY: the bytes are the world's.
    let written = unsafe { libc::pwrite(descriptor, bytes, 1, at.cast_signed()) };
    world.tally.count(Kind::Pwrite, aim, written as i64);
}

/// pwritev(2) with vectors that change.
pub(super) fn pwritev(world: &World, random: &mut Random) {
    let (aim, at) = world.aim(Kind::Pwritev, random);
    let (vectors, count) = world.vectors();
    let descriptor = world.second.as_raw_fd();
    // SAFETY: the vectors are the world's; the kernel copies them and checks where they lead.
    let written = unsafe { libc::pwritev(descriptor, vectors, count, at.cast_signed()) };
    if written != 0 {
        world.tally.count(Kind::Pwritev, aim, written as i64);
    }
}

/// pwritev(2) that begins before the border; how far it goes, another thread decides. A long one
/// must be denied as a whole.
pub(super) fn across_the_border(world: &World, random: &mut Random) {
    let before = 1 + random.below(4);
    let at = world.plan.border - before;
    let (vectors, count) = world.vectors();
    let descriptor = world.device.as_raw_fd();
    // SAFETY: as above.
    let written = unsafe { libc::pwritev(descriptor, vectors, count, at.cast_signed()) };
    if written != 0 {
        let is_beyond = u64::try_from(written).is_ok_and(|written| written > before);
        let aim = if is_beyond { Aim::Target } else { Aim::Either };
        world.tally.count(Kind::Border, aim, written as i64);
    }
}

/// A write of an impossible length to where there is nothing, which is refused before anybody
/// judges it, then one that is possible: what the first left behind must not speak for the second.
pub(super) fn after_a_refusal(world: &World, random: &mut Random) {
    const NOTHING: i64 = 1 << 40;
    const IMPOSSIBLE: usize = 1 << 63;
    let mut ends = [0; 2];
    let descriptor = world.device.as_raw_fd();
    let (aim, at) = world.aim(Kind::AfterRefusal, random);
    let mut offset = NOTHING;
    let bytes = world.value.as_ptr().cast();
    // SAFETY: all pointers are to locals and to the world's bytes.
    unsafe {
        if libc::pipe(ends.as_mut_ptr()) != 0 {
            return;
        }
        libc::write(ends[1], bytes, 1);
        for _ in 0..random.below(4) {
            let none = ptr::null_mut();
            libc::splice(ends[0], none, descriptor, &raw mut offset, IMPOSSIBLE, 0);
        }
        let written = libc::pwrite(descriptor, bytes, 1, at.cast_signed());
        world.tally.count(Kind::AfterRefusal, aim, written as i64);
    }
    for end in ends {
        // SAFETY: opened above.
        unsafe { libc::close(end) };
    }
}

/// Changes what the other threads' calls are about.
pub(super) fn meddle(world: &World, random: &mut Random) {
    for _ in 0..16 {
        world.change_vectors(random);
        world.ring.change(world, random);
    }
    seek(world, random);
    let (file, changing) = (world.any_file(random), world.changing.as_raw_fd());
    // SAFETY: both are open; the second is there to be replaced.
    unsafe { libc::dup2(file, changing) };
}
