//! Processes: one for each race, and children that share descriptors, mappings or all memory with
//! the threads.

use std::ffi::c_void;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

use super::mappings;
use super::tally::Kind;
use super::world::{Random, World};

/// How a process ended.
pub(super) enum End {
    Exited(i32),
    Signalled(i32),
}

/// Runs `act` in a child process.
pub(super) fn start(act: impl FnOnce() -> i32) -> io::Result<i32> {
    // SAFETY: the caller has no other threads, or `act` only makes system calls.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: ends the child without the parent's exit handlers.
        0 => unsafe { libc::_exit(act()) },
        child => Ok(child),
    }
}

/// Waits for a child to end.
pub(super) fn wait(child: i32) -> io::Result<End> {
    let mut status = 0;
    // SAFETY: the status is a local.
    while unsafe { libc::waitpid(child, &raw mut status, 0) } < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    if libc::WIFSIGNALED(status) {
        return Ok(End::Signalled(libc::WTERMSIG(status)));
    }
    Ok(End::Exited(libc::WEXITSTATUS(status)))
}

/// Forks by fork(2): the child has a copy of the mappings and the same open files.
pub(super) fn fork(world: &World, random: &mut Random) {
    // If the fork fails, the next act tries it again.
    let started = start(|| {
        act(world, random, Kind::Fork);
        0
    });
    count_kills(world, started.and_then(wait));
    // The child used a copy of the generator. Advance the original, so that the next child differs.
    random.below(1);
}

/// Clones as vfork(2) does: the child shares all memory and all descriptors with the threads.
pub(super) fn share(world: &World, random: &mut Random) {
    const STACK: usize = 64 << 10;
    extern "C" fn begin(argument: *mut c_void) -> i32 {
        // SAFETY: `share` passes this argument and waits until the child has ended.
        let (world, random) = unsafe { &mut *argument.cast::<(&World, &mut Random)>() };
        act(world, random, Kind::Vfork);
        0
    }
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let mut argument = (world, random);
    // SAFETY: the child has a separate stack, which is unmapped after it has ended. Because of
    // CLONE_VFORK this thread waits until then, so only the child uses `errno` and the argument.
    let child = unsafe {
        let stack = libc::mmap(ptr::null_mut(), STACK, protection, flags, -1, 0);
        if stack == libc::MAP_FAILED {
            return;
        }
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES | libc::SIGCHLD;
        let top = stack.byte_add(STACK);
        let child = libc::clone(begin, top, flags, (&raw mut argument).cast());
        libc::munmap(stack, STACK);
        child
    };
    if child > 0 {
        count_kills(world, wait(child));
    }
}

fn count_kills(world: &World, ended: io::Result<End>) {
    if let Ok(End::Signalled(signal)) = ended {
        world.tally.signalled(signal);
    }
}

/// What a child does. It only makes system calls.
fn act(world: &World, random: &mut Random, kind: Kind) {
    for _ in 0..4 {
        let (aim, at) = world.aim(kind, random);
        let (descriptor, bytes) = (world.device.as_raw_fd(), world.value.as_ptr().cast());
        // SAFETY: the bytes belong to the world.
        let written = unsafe { libc::pwrite(descriptor, bytes, 1, at.cast_signed()) };
        world.tally.count(kind, aim, written as i64);
        let (page, at) = (world.page(1, random), at & !(super::PAGE - 1));
        let mapped = mappings::map(world, page, libc::PROT_READ | libc::PROT_WRITE, at, 1, random);
        if world.tally.count(kind, aim, mapped) {
            world.store(page, kind);
        }
        world.store(world.page(1, random), kind);
    }
}
