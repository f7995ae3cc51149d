//! What was tried and what came of it, counted across processes.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value, json};

/// Ways to write that are counted by themselves. Each has its place in a page: see [`Kind::place`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Write,
    Writev,
    Pwrite,
    Pwritev,
    Border,
    AfterRefusal,
    IoUring,
    Mmap,
    Mprotect,
    RemapFilePages,
    Mremap,
    Store,
    Fork,
    Vfork,
}

const KINDS: [(Kind, &str); 14] = [
    (Kind::Write, "write"),
    (Kind::Writev, "writev"),
    (Kind::Pwrite, "pwrite"),
    (Kind::Pwritev, "pwritev"),
    (Kind::Border, "border"),
    (Kind::AfterRefusal, "after-refusal"),
    (Kind::IoUring, "io-uring"),
    (Kind::Mmap, "mmap"),
    (Kind::Mprotect, "mprotect"),
    (Kind::RemapFilePages, "remap-file-pages"),
    (Kind::Mremap, "mremap"),
    (Kind::Store, "store"),
    (Kind::Fork, "fork"),
    (Kind::Vfork, "vfork"),
];

impl Kind {
    /// The byte of a page that this kind writes at, and at most seven bytes behind it.
    pub(super) fn place(self) -> u64 {
        self as u64 * 64
    }

    /// The places of all kinds.
    pub(super) fn places() -> impl Iterator<Item = u64> {
        KINDS.iter().map(|(kind, _)| kind.place())
    }
}

/// What an act is aimed at, as far as the thread that makes it can know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// Memory that is nobody's.
    Allowed,
    /// Protected memory.
    Target,
    /// One of both: another thread decides.
    Either,
    /// Protected memory, or what another thread put in its place, which may be written.
    TargetOrElse,
}

#[repr(C)]
#[derive(Default)]
struct Count {
    tried: AtomicU64,
    allowed: AtomicU64,
    denied: AtomicU64,
    /// Denied although it was aimed at nobody's memory: the guard did not know where to.
    denied_elsewhere: AtomicU64,
    /// Succeeded although it was aimed at protected memory.
    through: AtomicU64,
    other: AtomicU64,
}

/// The counters, in memory that every process of the attack shares.
#[repr(C)]
pub(crate) struct Tally {
    counts: [Count; KINDS.len()],
    killed: AtomicU64,
    crashed: AtomicU64,
    last_signal: AtomicU64,
    value: AtomicU64,
}

impl Tally {
    /// New counters, which children share.
    pub(super) fn shared() -> io::Result<&'static Self> {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: new memory where the kernel likes, all zero, which is a valid value of every
        // field; it is never unmapped, and aligned to a page.
        unsafe {
            let at = libc::mmap(ptr::null_mut(), size_of::<Self>(), protection, flags, -1, 0);
            if at == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            Ok(&*at.cast::<Self>())
        }
    }

    /// Counts an act by what the kernel said: a system call's result, or -1 and `errno`.
    pub(super) fn count(&self, kind: Kind, aim: Aim, result: i64) -> bool {
        let error = if result < 0 { io::Error::last_os_error().raw_os_error() } else { None };
        self.count_outcome(kind, aim, result >= 0, error)
    }

    /// Counts an act by its outcome. Returns whether it succeeded.
    pub(super) fn count_outcome(
        &self,
        kind: Kind,
        aim: Aim,
        succeeded: bool,
        error: Option<i32>,
    ) -> bool {
        let count = &self.counts[kind as usize];
        let counter = match (succeeded, aim) {
            (true, Aim::Allowed | Aim::Either) => &count.allowed,
            (true, Aim::Target) => &count.through,
            (true, Aim::TargetOrElse) => &count.other,
            (false, Aim::Allowed) if error == Some(libc::EPERM) => &count.denied_elsewhere,
            (false, _) if error == Some(libc::EPERM) => &count.denied,
            (false, _) => &count.other,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        count.tried.fetch_add(1, Ordering::Relaxed);
        succeeded
    }

    /// Notes how a process of threads was ended.
    pub(super) fn signalled(&self, signal: i32) {
        let counter = if signal == libc::SIGKILL { &self.killed } else { &self.crashed };
        counter.fetch_add(1, Ordering::Relaxed);
        self.last_signal.store(signal.unsigned_abs().into(), Ordering::Relaxed);
    }

    /// Notes the byte that is written.
    pub(super) fn writes(&self, value: u8) {
        self.value.store(value.into(), Ordering::Relaxed);
    }

    /// How often something succeeded that must not, as far as the threads know.
    pub(crate) fn through(&self) -> u64 {
        self.counts.iter().map(|count| count.through.load(Ordering::Relaxed)).sum()
    }

    /// The counters as JSON: an object a kind, and how the processes ended.
    pub(crate) fn to_json(&self) -> Value {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let kinds = KINDS.iter().map(|&(kind, name)| {
            let count = &self.counts[kind as usize];
            let of_it = json!({
                "tried": load(&count.tried),
                "allowed": load(&count.allowed),
                "denied": load(&count.denied),
                "denied_elsewhere": load(&count.denied_elsewhere),
                "through": load(&count.through),
                "other": load(&count.other),
                "place": kind.place(),
            });
            (name.to_owned(), of_it)
        });
        json!({
            "kinds": kinds.collect::<Map<_, _>>(),
            "killed": load(&self.killed),
            "crashed": load(&self.crashed),
            "last_signal": load(&self.last_signal),
            "value": load(&self.value),
        })
    }
}
