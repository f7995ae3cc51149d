//! State that the threads of one process share and change while others use it.

use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::ring::Ring;
use super::tally::{Aim, Kind, Tally};
use super::{PAGE, Plan};
use crate::mappings;

/// Number of pages in which the threads map over one another.
const ARENA: u64 = 8;
/// Number of private pages of each thread, after the shared ones.
const OWN: u64 = 2;
/// Maximum number of threads in a process.
const THREADS: u64 = 32;
/// Number of vectors in a call.
const VECTORS: usize = 4;
/// Maximum total length of the vectors: a kind may write this many bytes from its place on.
const LONGEST: u64 = 8;

/// Shared by all threads of a process.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) tally: &'static Tally,
    /// `/dev/mem`, whose position is shared.
    pub(super) device: File,
    /// `/dev/mem`, opened a second time.
    pub(super) second: File,
    /// An ordinary file, filled with the byte that the threads write.
    pub(super) file: File,
    /// A descriptor that changes from file to file.
    pub(super) changing: OwnedFd,
    /// `struct iovec`s, as words.
    vectors: [AtomicUsize; 2 * VECTORS],
    pub(super) ring: Ring,
    arena: usize,
    is_over: AtomicBool,
    /// The byte that the threads write, repeated to the maximum length.
    pub(super) value: [u8; LONGEST as usize],
}

impl World {
    pub(super) fn new(plan: Plan, tally: &'static Tally, polled: bool) -> io::Result<Self> {
        let open = || OpenOptions::new().read(true).write(true).open("/dev/mem");
        let (device, second) = (open()?, open()?);
        let value = [foreign(&device, &plan)?; LONGEST as usize];
        tally.writes(value[0]);
        // SAFETY: the name is a C string. The descriptor is new and has no other owner.
        let file = unsafe {
            let descriptor = libc::memfd_create(c"race".as_ptr(), libc::MFD_CLOEXEC);
            if descriptor < 0 {
                return Err(io::Error::last_os_error());
            }
            File::from_raw_fd(descriptor)
        };
        io::Write::write_all(&mut &file, &[value[0]; PAGE as usize])?;
        let changing = OwnedFd::from(device.try_clone()?);
        let (length, flags) = (
            ((ARENA + THREADS * OWN) * PAGE) as usize,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
        );
        // SAFETY: new memory at an address that the kernel chooses. Only system calls refer to it.
        let arena = unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_NONE, flags, -1, 0) };
        if arena == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let (vectors, is_over) = (Default::default(), AtomicBool::new(false));
        let (ring, arena) = (Ring::new(polled)?, arena as usize);
        Ok(Self {
            plan,
            tally,
            device,
            second,
            file,
            changing,
            vectors,
            ring,
            arena,
            is_over,
            value,
        })
    }

    /// Makes the vectors point into this world, which must not be moved after this.
    pub(super) fn settle(&self) {
        (0..VECTORS).for_each(|n| self.set_vector(n, 1));
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Chooses protected or unprotected memory, at a kind's place.
    pub(super) fn aim(&self, kind: Kind, random: &mut Random) -> (Aim, u64) {
        if random.one_in(2) {
            (Aim::Target, self.plan.target + kind.place())
        } else {
            (Aim::Allowed, self.plan.via + kind.place())
        }
    }

    /// Does the same for whole pages. The protected page may also be the one at the border.
    pub(super) fn aim_page(&self, random: &mut Random) -> (Aim, u64) {
        if random.one_in(2) {
            (Aim::Allowed, self.plan.via)
        } else if random.one_in(8) {
            (Aim::Target, self.plan.border)
        } else {
            (Aim::Target, self.plan.target)
        }
    }

    /// Changes a vector's length. The bytes that it writes stay the same.
    pub(super) fn set_vector(&self, n: usize, bytes: usize) {
        self.vectors[2 * n].store(self.value.as_ptr() as usize, Ordering::Relaxed);
        self.vectors[2 * n + 1].store(bytes, Ordering::Relaxed);
    }

    /// Changes a vector at random. One in eight points to unreadable memory, for which the kernel
    /// writes zeros (`copy_from_user`). Together, the vectors stay within the place of a kind.
    pub(super) fn change_vectors(&self, random: &mut Random) {
        let n = random.below(VECTORS as u64) as usize;
        self.set_vector(n, random.below(LONGEST / VECTORS as u64 + 1) as usize);
        if random.one_in(8) {
            self.vectors[2 * n].store(PAGE as usize, Ordering::Relaxed);
        }
    }

    pub(super) fn vectors(&self) -> (*const libc::iovec, i32) {
        (self.vectors.as_ptr().cast(), VECTORS as i32)
    }

    /// Returns a random page of the arena that has `pages` consecutive pages from it on.
    pub(super) fn page(&self, pages: u64, random: &mut Random) -> *mut c_void {
        (self.arena + (random.below(ARENA - pages + 1) * PAGE) as usize) as *mut c_void
    }

    /// Returns the two private pages of the current thread.
    pub(super) fn own_pages(&self, random: &Random) -> *mut c_void {
        (self.arena + ((ARENA + random.thread % THREADS * OWN) * PAGE) as usize) as *mut c_void
    }

    /// Has the kernel store into a page of the arena. Returns whether it succeeded.
    pub(super) fn store(&self, page: *mut c_void, kind: Kind) -> bool {
        let at = page.wrapping_byte_add(kind.place() as usize);
        // SAFETY: the address is in the arena, of which Rust knows nothing.
        let read = unsafe { libc::pread(self.file.as_raw_fd(), at, 1, 0) };
        read == 1
    }

    /// Returns one of the files that the changing descriptor may refer to.
    pub(super) fn any_file(&self, random: &mut Random) -> RawFd {
        [&self.device, &self.second, &self.file][random.below(3) as usize].as_raw_fd()
    }
}

/// Finds a byte that occurs at no kind's place in the protected pages.
fn foreign(device: &File, plan: &Plan) -> io::Result<u8> {
    let mut is_there = [false; 256];
    for page in [plan.target, plan.border] {
        for place in Kind::places().flat_map(|place| place..place + LONGEST) {
            is_there[usize::from(mappings::load(device, page + place)?)] = true;
        }
    }
    (1..=255)
        .find(|value| !is_there[usize::from(*value)])
        .ok_or_else(|| io::Error::other("every byte is somewhere in the page"))
}

/// Makes the current thread run as soon as it is ready, before any thread that is not real-time.
pub(super) fn run_at_once() {
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: the structure is a local. Without the privilege, the thread stays an ordinary one.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) };
}

/// Random numbers of a thread, reproducible by their seed (SplitMix64).
pub(super) struct Random {
    state: u64,
    thread: u64,
}

impl Random {
    pub(super) fn new(seed: u64, thread: u64) -> Self {
        Self { state: seed ^ (thread << 24), thread }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}
