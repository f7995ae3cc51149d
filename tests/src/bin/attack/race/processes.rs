//! Processes: each race in one of its own, and children that share descriptors, mappings or all
//! memory with the threads.

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

/// Begins something in a child.
pub(super) fn start(act: impl FnOnce() -> i32) -> io::Result<i32> {
    // SAFETY: the caller has no other threads, or `act` makes system calls only.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: ends the child without what its parent registered for its own end.
        0 => unsafe { libc::_exit(act()) },
        child => Ok(child),
    }
}

/// Waits for a child's end.
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

/// fork(2): a copy of the mappings, the same open files.
pub(super) fn fork(world: &World, random: &mut Random) {
    // A child that could not be made is made the next time.
    let started = start(|| {
        act(world, random, Kind::Fork);
        0
    });
    count_kills(world, started.and_then(wait));
    // Its own numbers went with the child.
    random.below(1);
}

/// As vfork(2), with all memory and all descriptors in common with the other threads.
pub(super) fn share(world: &World, random: &mut Random) {
    const STACK: usize = 64 << 10;
    extern "C" fn begin(argument: *mut c_void) -> i32 {
        // SAFETY: what `share` passes, which waits meanwhile.
        let (world, random) = unsafe { &mut *argument.cast::<(&World, &mut Random)>() };
        act(world, random, Kind::Vfork);
        0
    }
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let mut argument = (world, random);
    // SAFETY: a stack of its own, which goes when the child has ended; by CLONE_VFORK this thread
    // stands still until then, so that `errno` and the argument are the child's alone.
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

/// What a child does: system calls only.
fn act(world: &World, random: &mut Random, kind: Kind) {
    for _ in 0..4 {
        let (aim, at) = world.aim(kind, random);
        let (descriptor, bytes) = (world.device.as_raw_fd(), world.value.as_ptr().cast());
        // SAFETY: the bytes are the world's.
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
