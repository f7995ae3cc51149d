//! io_uring without a library. The entry that the kernel takes is in shared memory, and another
//! thread changes it at any time. The `io_uring` crate does not allow this.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::tally::{Aim, Kind};
use super::world::{Random, World};

// include/uapi/linux/io_uring.h.
const SETUP_SQPOLL: u32 = 1 << 1;
const ENTER_GETEVENTS: u32 = 1 << 0;
const ENTER_SQ_WAKEUP: u32 = 1 << 1;
const OFFSET_RINGS: i64 = 0;
const OFFSET_ENTRIES: i64 = 0x1000_0000;
const OP_WRITEV: u8 = 2;
const OP_WRITE: u8 = 23;
const FLAG_ASYNC: u8 = 1 << 4;

/// `struct io_uring_params` as 32-bit words, and the indices of its fields.
type Parameters = [u32; 30];
const FLAGS: usize = 2;
const IDLE_MS: usize = 4;
const SQ_TAIL: usize = 11;
const SQ_ARRAY: usize = 16;
const CQ_HEAD: usize = 20;
const CQ_TAIL: usize = 21;
const CQ_MASK: usize = 22;
const CQ_ENTRIES: usize = 25;

/// Byte offsets into `struct io_uring_sqe`.
const SQE_OPCODE: usize = 0;
const SQE_FLAGS: usize = 1;
const SQE_DESCRIPTOR: usize = 4;
const SQE_OFFSET: usize = 8;
const SQE_ADDRESS: usize = 16;
const SQE_LENGTH: usize = 24;
const SQE_SIZE: usize = 64;
/// Size of `struct io_uring_cqe` in bytes, and the offset of its result.
const CQE_SIZE: usize = 16;
const CQE_RESULT: usize = 8;

/// A queue of one entry.
pub(super) struct Ring {
    descriptor: OwnedFd,
    parameters: Parameters,
    rings: usize,
    entry: usize,
}

impl Ring {
    /// Makes a queue that a kernel thread empties (`polled`), or that the caller submits.
    pub(super) fn new(polled: bool) -> io::Result<Self> {
        let mut parameters: Parameters = [0; 30];
        if polled {
            parameters[FLAGS] = SETUP_SQPOLL;
            parameters[IDLE_MS] = 5;
        }
        // SAFETY: the parameters have the size of the structure; the descriptor is new.
        let descriptor = unsafe {
            let descriptor = libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr());
            if descriptor < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(descriptor as i32)
        };
        // Both rings are far smaller than a page; the kernel maps them as one.
        let rings = shared(&descriptor, OFFSET_RINGS)?;
        let entry = shared(&descriptor, OFFSET_ENTRIES)?;
        Ok(Self { descriptor, parameters, rings, entry })
    }

    fn in_rings(&self, field: usize) -> &AtomicU32 {
        at(self.rings + self.parameters[field] as usize)
    }

    fn in_entry<T: 'static>(&self, offset: usize) -> &T {
        assert!(offset + size_of::<T>() <= SQE_SIZE);
        at(self.entry + offset)
    }

    /// Changes target and length of the write, whether or not the kernel has taken the entry.
    pub(super) fn change(&self, world: &World, random: &mut Random) {
        const AT_THE_SHARED_POSITION: u64 = u64::MAX;
        let offset = match random.below(8) {
            0 => AT_THE_SHARED_POSITION,
            _ => world.aim(Kind::IoUring, random).1,
        };
        self.in_entry::<AtomicU64>(SQE_OFFSET).store(offset, Ordering::Relaxed);
        let length = 1 + random.below(4) as u32;
        self.in_entry::<AtomicU32>(SQE_LENGTH).store(length, Ordering::Relaxed);
        if random.one_in(4) {
            let descriptor = world.any_file(random).cast_unsigned();
            self.in_entry::<AtomicU32>(SQE_DESCRIPTOR).store(descriptor, Ordering::Relaxed);
        }
    }

    /// Submits the entry and waits for the result: a count or a negated errno.
    fn submit(&self) -> Option<i32> {
        self.in_rings(SQ_ARRAY).store(0, Ordering::Relaxed);
        self.in_rings(SQ_TAIL).fetch_add(1, Ordering::Release);
        let head = self.in_rings(CQ_HEAD).load(Ordering::Relaxed);
        let none = ptr::null::<u8>();
        let flags = ENTER_GETEVENTS | ENTER_SQ_WAKEUP;
        let descriptor = self.descriptor.as_raw_fd();
        let mut submit = 1;
        while self.in_rings(CQ_TAIL).load(Ordering::Acquire) == head {
            // SAFETY: the call takes only numbers.
            let entered = unsafe {
                libc::syscall(libc::SYS_io_uring_enter, descriptor, submit, 1, flags, none, 0)
            };
            if entered > 0 {
                submit = 0;
            }
            let interrupted = io::Error::last_os_error().kind() == io::ErrorKind::Interrupted;
            if entered < 0 && !interrupted {
                return None;
            }
        }
        let slot = (head & self.in_rings(CQ_MASK).load(Ordering::Relaxed)) as usize;
        let events = self.rings + self.parameters[CQ_ENTRIES] as usize;
        let result = at::<AtomicU32>(events + slot * CQE_SIZE + CQE_RESULT).load(Ordering::Relaxed);
        self.in_rings(CQ_HEAD).store(head.wrapping_add(1), Ordering::Release);
        Some(result.cast_signed())
    }
}

/// Writes by `IORING_OP_WRITE` or `IORING_OP_WRITEV`, in this thread or in a kernel worker.
pub(super) fn write(world: &World, random: &mut Random) {
    let ring = &world.ring;
    let (opcode, address) = if random.one_in(2) {
        (OP_WRITE, world.value.as_ptr() as u64)
    } else {
        (OP_WRITEV, world.vectors().0 as u64)
    };
    let flags = if random.one_in(2) { FLAG_ASYNC } else { 0 };
    ring.change(world, random);
    let device = world.device.as_raw_fd().cast_unsigned();
    ring.in_entry::<AtomicU32>(SQE_DESCRIPTOR).store(device, Ordering::Relaxed);
    ring.in_entry::<AtomicU64>(SQE_ADDRESS).store(address, Ordering::Relaxed);
    ring.in_entry::<AtomicU8>(SQE_OPCODE).store(opcode, Ordering::Relaxed);
    ring.in_entry::<AtomicU8>(SQE_FLAGS).store(flags, Ordering::Relaxed);
    match ring.submit() {
        Some(result) if result != 0 => {
            let error = (result < 0).then_some(-result);
            world.tally.count_outcome(Kind::IoUring, Aim::Either, error.is_none(), error);
        }
        // Vectors without any byte, or an entry that the kernel did not take.
        _ => (),
    }
}

/// Maps a page that the kernel shares. It stays mapped until the process ends.
fn shared(descriptor: &OwnedFd, offset: i64) -> io::Result<usize> {
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
    let descriptor = descriptor.as_raw_fd();
    // SAFETY: new memory at an address that the kernel chooses.
    let at =
        unsafe { libc::mmap(ptr::null_mut(), SQE_SIZE, protection, flags, descriptor, offset) };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(at as usize)
}

/// Returns an atomic in memory that is shared with the kernel.
fn at<T>(address: usize) -> &'static T {
    // SAFETY: all callers pass addresses inside the mappings of `shared`, aligned as in the
    // kernel's structures. The types are atomics, for which any bits are valid.
    unsafe { &*(address as *const T) }
}
