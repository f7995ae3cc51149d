//! Counters of attempts and their results, across processes.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value, json};

/// Ways to write, each with separate counters and a place in a page: see [`Kind::place`].
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
    /// Offset in a page at which this kind writes. It writes at most seven more bytes after it.
    pub(super) fn place(self) -> u64 {
        self as u64 * 64
    }

    /// The places of all kinds.
    pub(super) fn places() -> impl Iterator<Item = u64> {
        KINDS.iter().map(|(kind, _)| kind.place())
    }
}

/// Target of an act, as far as its thread can know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// Unprotected memory.
    Allowed,
    /// Protected memory.
    Target,
    /// Either one: another thread decides.
    Either,
    /// Protected memory, or something that another thread put in its place and that may be written.
    TargetOrElse,
}

#[repr(C)]
#[derive(Default)]
struct Count {
    tried: AtomicU64,
    allowed: AtomicU64,
    denied: AtomicU64,
    /// Denied although the target was unprotected memory: the guard did not know the target.
    denied_elsewhere: AtomicU64,
    /// Succeeded although the target was protected memory.
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
    /// Makes new counters, which children share.
    pub(super) fn shared() -> io::Result<&'static Self> {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: new memory at an address that the kernel chooses. It is all zero, which is valid
        // for every field, aligned to a page, and never unmapped.
        unsafe {
            let at = libc::mmap(ptr::null_mut(), size_of::<Self>(), protection, flags, -1, 0);
            if at == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            Ok(&*at.cast::<Self>())
        }
    }

    /// Counts an act by the result of its system call, or by -1 and `errno`. Returns whether it
    /// succeeded.
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

    /// Counts the signal that ended a process of threads.
    pub(super) fn signalled(&self, signal: i32) {
        let counter = if signal == libc::SIGKILL { &self.killed } else { &self.crashed };
        counter.fetch_add(1, Ordering::Relaxed);
        self.last_signal.store(signal.unsigned_abs().into(), Ordering::Relaxed);
    }

    /// Records the byte that the threads write.
    pub(super) fn writes(&self, value: u8) {
        self.value.store(value.into(), Ordering::Relaxed);
    }

    /// Number of writes that succeeded although they must not, as far as the threads know.
    pub(crate) fn through(&self) -> u64 {
        self.counts.iter().map(|count| count.through.load(Ordering::Relaxed)).sum()
    }

    /// Returns the counters as JSON: one object per kind, and how the processes ended.
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
