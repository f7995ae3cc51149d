//! System calls whose descriptor, position or vectors another thread changes while they run.

use std::os::fd::AsRawFd;
use std::ptr;

use super::PAGE;
use super::tally::{Aim, Kind};
use super::world::{Random, World};

/// Writes by write(2) at the position that the threads share.
pub(super) fn write(world: &World, random: &mut Random) {
    seek(world, random);
    // SAFETY: the bytes belong to the world.
    let written = unsafe { libc::write(world.device.as_raw_fd(), world.value.as_ptr().cast(), 1) };
    world.tally.count(Kind::Write, Aim::Either, written as i64);
}

/// Writes by writev(2) at the same position, with changing vectors.
pub(super) fn writev(world: &World, random: &mut Random) {
    seek(world, random);
    let (vectors, count) = world.vectors();
    // SAFETY: the vectors belong to the world. The kernel copies them and checks their addresses.
    let written = unsafe { libc::writev(world.device.as_raw_fd(), vectors, count) };
    if written != 0 {
        world.tally.count(Kind::Writev, Aim::Either, written as i64);
    }
}

/// Moves the shared position. Writes that continue from an allowed position need a page of their
/// own.
fn seek(world: &World, random: &mut Random) {
    let kind = if random.one_in(2) { Kind::Write } else { Kind::Writev };
    let at = match world.aim(kind, random) {
        (Aim::Allowed, at) => at + PAGE,
        (_, at) => at,
    };
    // SAFETY: changes only the position.
    unsafe { libc::lseek(world.device.as_raw_fd(), at.cast_signed(), libc::SEEK_SET) };
}

/// Writes by pwrite(2), through a fixed descriptor or through one that another thread replaces.
pub(super) fn pwrite(world: &World, random: &mut Random) {
    let (aim, at) = world.aim(Kind::Pwrite, random);
    let (descriptor, aim) = match aim {
        _ if random.one_in(2) => (world.device.as_raw_fd(), aim),
        Aim::Target => (world.changing.as_raw_fd(), Aim::TargetOrElse),
        _ => (world.changing.as_raw_fd(), aim),
    };
    let bytes = world.value.as_ptr().cast();
    // SAFETY: the bytes belong to the world.
    let written = unsafe { libc::pwrite(descriptor, bytes, 1, at.cast_signed()) };
    world.tally.count(Kind::Pwrite, aim, written as i64);
}

/// Writes by pwritev(2) with changing vectors.
pub(super) fn pwritev(world: &World, random: &mut Random) {
    let (aim, at) = world.aim(Kind::Pwritev, random);
    let (vectors, count) = world.vectors();
    let descriptor = world.second.as_raw_fd();
    // SAFETY: the vectors belong to the world. The kernel copies them and checks their addresses.
    let written = unsafe { libc::pwritev(descriptor, vectors, count, at.cast_signed()) };
    if written != 0 {
        world.tally.count(Kind::Pwritev, aim, written as i64);
    }
}

/// Writes by pwritev(2) from before the border. Another thread decides the length. The kernel must
/// deny a write that crosses the border as a whole.
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

/// Tries splices of an impossible length to an unused address, which the kernel refuses before the
/// guard judges them. Then tries a possible write: state left over from the refused calls must not
/// decide about it.
pub(super) fn after_a_refusal(world: &World, random: &mut Random) {
    const NOTHING: i64 = 1 << 40;
    const IMPOSSIBLE: usize = 1 << 63;
    let mut ends = [0; 2];
    let descriptor = world.device.as_raw_fd();
    let (aim, at) = world.aim(Kind::AfterRefusal, random);
    let mut offset = NOTHING;
    let bytes = world.value.as_ptr().cast();
    // SAFETY: all pointers lead to locals or to the world's bytes.
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
        // SAFETY: the code above opened the descriptor.
        unsafe { libc::close(end) };
    }
}

/// Changes the arguments of the other threads' calls.
pub(super) fn meddle(world: &World, random: &mut Random) {
    for _ in 0..16 {
        world.change_vectors(random);
        world.ring.change(world, random);
    }
    seek(world, random);
    let (file, changing) = (world.any_file(random), world.changing.as_raw_fd());
    // SAFETY: both descriptors are open, and the second one exists to be replaced.
    unsafe { libc::dup2(file, changing) };
}
