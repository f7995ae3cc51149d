//! Path 8: what processes hold from before the guard, or from a lease that is over.
//!
//! A mapping that is writable already never asks anybody again, so it must be found and its process
//! ended. A descriptor of `/dev/mem` is judged at each use, and ended only where policy says that
//! nobody shall have one, or no program judges uses.
//!
//! Looked for are mappings of `/dev/mem`, and of UIO devices, which say where their memory is. Those of
//! other drivers say nothing to anybody but the kernel (SECURITY.md).

use std::time::{Duration, Instant};
use std::{fs, io, process};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use watchdog_common::Doors;

use super::attempt::{Attacker, WriteAttempt};
use super::processes::{Device, Mapping, Processes};
use super::{Policies, Policy, WritePath, doors};
use crate::memory::{PhysAddr, PhysRange, RangeSet};

/// `MEM_MAJOR`, and the minors of `/dev/mem` and `/dev/port` (drivers/char/mem.c).
const DEV_MEM: Device = (1, 1);
const DEV_PORT: Device = (1, 4);
const UIO: &str = "/sys/class/uio";
const PAGE: u64 = 4096;
/// How often is looked again, and for how long in all: who multiplies faster than he is killed, or
/// cannot be killed, is not waited for.
const ROUNDS: usize = 8;
const ALL_ROUNDS: Duration = Duration::from_secs(10);
/// How long one process may take to end.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often all processes are looked at while the guard is in force.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What nobody but the watchdog may hold.
#[derive(Debug)]
pub(super) struct Forbidden {
    /// Memory that may not be mapped to be written.
    memory: RangeSet,
    /// `/dev/mem` open for writing.
    mem: bool,
    /// `/dev/port` open for writing.
    port: bool,
    /// Devices by which an IOMMU is reached.
    doors: Option<Doors>,
}

/// Something that a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hold {
    what: &'static str,
    range: Option<PhysRange>,
}

impl Forbidden {
    /// By memory and policies. `uses_are_judged`: whether programs see what is done with a
    /// descriptor.
    pub(super) fn new(
        memory: RangeSet,
        policies: &Policies,
        uses_are_judged: bool,
        doors: Doors,
    ) -> Self {
        let denied = |path| policies.get(path) >= Policy::Deny;
        Self {
            memory,
            mem: denied(WritePath::Open),
            port: denied(WritePath::Pci) && !uses_are_judged,
            doors: denied(WritePath::Iommu).then_some(doors),
        }
    }

    /// The same of other memory.
    fn within(&self, memory: RangeSet) -> Self {
        Self { memory, ..*self }
    }

    /// Whether a process holds anything of it; what it holds first.
    fn held_by(&self, processes: &Processes, pid: u32, uio: Option<u32>) -> Option<Hold> {
        let mappings = processes.shared_mappings(pid).unwrap_or_default();
        let mapped = mappings.iter().find_map(|(device, mapping)| {
            let (what, range) = match *device {
                DEV_MEM if mapping.is_writable => ("a mapping of /dev/mem", of_mem(mapping)?),
                // Nobody looks when such a one is made writable.
                (major, minor) if Some(major) == uio => {
                    ("a mapping of UIO", of_uio(minor, mapping)?)
                }
                _ => return None,
            };
            self.memory.overlaps(&range).then_some(Hold { what, range: Some(range) })
        });
        if mapped.is_some() || !(self.mem || self.port || self.doors.is_some()) {
            return mapped;
        }
        let open = processes.open_devices(pid).unwrap_or_default();
        let what = open.iter().find_map(|(device, writes)| match *device {
            DEV_MEM if self.mem && *writes => Some("/dev/mem open for writing"),
            DEV_PORT if self.port && *writes => Some("/dev/port open for writing"),
            device if self.is_door(device) => Some("VFIO or iommufd open"),
            _ => None,
        });
        what.map(|what| Hold { what, range: None })
    }

    fn is_door(&self, (major, minor): Device) -> bool {
        let Some(doors) = &self.doors else { return false };
        let number = (major << 20) | minor;
        doors.majors.contains(&major) || doors.numbers.contains(&number)
    }

    fn search(&self, processes: &Processes, excepted: u32) -> io::Result<Vec<(u32, Hold)>> {
        let uio = doors::uio();
        let others = processes.all()?.into_iter();
        let others = others.filter(|pid| ![excepted, process::id()].contains(pid));
        Ok(others.filter_map(|pid| Some((pid, self.held_by(processes, pid, uio)?))).collect())
    }

    /// Does what policy says about every process that holds anything of it: tells of it, or ends it.
    /// Who could not be ended is told as such.
    fn end(&self, policy: Policy) -> io::Result<Vec<WriteAttempt>> {
        let mut told: Vec<WriteAttempt> = Vec::new();
        if policy == Policy::Off {
            return Ok(told);
        }
        let (processes, begun) = (Processes::open()?, Instant::now());
        for _ in 0..ROUNDS {
            let found = self.search(&processes, process::id())?;
            let is_over = found.is_empty() || policy < Policy::Kill;
            for (pid, hold) in found {
                let mut attempt = attempt(&processes, pid, hold);
                let is_patient = begun.elapsed() < ALL_ROUNDS;
                if policy >= Policy::Kill && is_patient && self.kill(&processes, pid) {
                    attempt.action = Policy::Kill;
                }
                told.retain(|it| it.process.pid != pid);
                told.push(attempt);
            }
            if is_over {
                break;
            }
        }
        Ok(told)
    }

    /// Ends a process, if it still holds something; whether it is gone.
    fn kill(&self, processes: &Processes, pid: u32) -> bool {
        // Process 1 takes no signal that it does not want.
        let id = i32::try_from(pid).ok().filter(|id| *id > 1).and_then(Pid::from_raw);
        // From here on the number is not another's.
        let Some(process) = id.and_then(|id| pidfd_open(id, PidfdFlags::empty()).ok()) else {
            return false;
        };
        if self.held_by(processes, pid, doors::uio()).is_none() {
            return false;
        }
        if pidfd_send_signal(&process, Signal::KILL).is_err() {
            return false;
        }
        let begun = Instant::now();
        while let Some(left) = PATIENCE.checked_sub(begun.elapsed()) {
            let timeout = left.try_into().ok();
            match poll(&mut [PollFd::new(&process, PollFlags::IN)], timeout.as_ref()) {
                Ok(0) => return false,
                Ok(_) => return true,
                Err(_) => {}
            }
        }
        false
    }
}

/// What is done about path 8, and how it stands.
#[derive(Debug)]
pub(super) struct Held {
    forbidden: Forbidden,
    policy: Policy,
    /// The watchdog, which may hold what nobody else may.
    watchdog: u32,
    /// When all processes were last looked at, and what was found wrong.
    looked: Option<(Instant, Option<String>)>,
    /// Whether somebody holds a lease, and with it what nobody else may hold.
    pub(super) is_leased: bool,
}

impl Held {
    pub(super) fn new(forbidden: Forbidden, policy: Policy, watchdog: u32) -> Self {
        Self { forbidden, policy, watchdog, looked: None, is_leased: false }
    }

    /// Does what policy says, once: who held what.
    pub(super) fn end(&mut self) -> Vec<WriteAttempt> {
        self.forbidden.end(self.policy).unwrap_or_else(|error| {
            log::warn!("what processes hold cannot be seen: {error}");
            Vec::new()
        })
    }

    /// The same of other memory.
    pub(super) fn end_within(&mut self, memory: RangeSet) -> Vec<WriteAttempt> {
        let ended = self.forbidden.within(memory).end(self.policy);
        ended.unwrap_or_else(|error| {
            log::warn!("what processes hold cannot be seen: {error}");
            Vec::new()
        })
    }

    /// What is wrong, if anything: somebody still holds what should have been taken from him, or
    /// processes cannot be seen. Looks at all of them now and then only, and not during a lease.
    pub(super) fn wrong(&mut self) -> Option<String> {
        match &self.looked {
            Some((at, wrong)) if self.is_leased || at.elapsed() < LOOK_AGAIN => {
                return wrong.clone();
            }
            None if self.is_leased => return None,
            _ => {}
        }
        let wrong = self.look();
        self.looked = Some((Instant::now(), wrong.clone()));
        wrong
    }

    fn look(&self) -> Option<String> {
        if self.policy < Policy::Kill {
            return None;
        }
        let found = Processes::open().and_then(|it| self.forbidden.search(&it, self.watchdog));
        match found.as_deref() {
            Ok([]) => None,
            Ok([(pid, hold), ..]) => Some(format!("process {pid} still holds {}", hold.what)),
            Err(error) => Some(format!("what processes hold cannot be seen: {error}")),
        }
    }
}

/// Whether processes' mappings are seen, told by one of this process at `at`.
///
/// # Errors
/// When they are not.
pub(super) fn sees_own(at: u64) -> io::Result<()> {
    let mappings = Processes::open()?.shared_mappings(process::id())?;
    if mappings.iter().any(|(device, mapping)| *device == DEV_MEM && mapping.offset == at) {
        return Ok(());
    }
    Err(io::Error::other("a mapping of /dev/mem that is there is not seen in /proc"))
}

/// The physical memory of a mapping of `/dev/mem`.
fn of_mem(mapping: &Mapping) -> Option<PhysRange> {
    PhysRange::with_size(PhysAddr(mapping.offset), mapping.end.checked_sub(mapping.start)?)
}

/// The physical memory of a mapping of a UIO device (`uio_mmap_physical()`, drivers/uio/uio.c, 6.1 to
/// 7.2): which of its maps is told by the page in the file. `None` for one that is no memory.
fn of_uio(minor: u32, mapping: &Mapping) -> Option<PhysRange> {
    let map = format!("{UIO}/uio{minor}/maps/map{}", mapping.offset / PAGE);
    let address = fs::read_to_string(format!("{map}/addr")).ok()?;
    let address = u64::from_str_radix(address.trim().strip_prefix("0x")?, 16).ok()?;
    PhysRange::with_size(PhysAddr(address & !(PAGE - 1)), mapping.end.checked_sub(mapping.start)?)
}

/// Who holds something, as it is told; `/proc` is asked while the process lives.
fn attempt(processes: &Processes, pid: u32, hold: Hold) -> WriteAttempt {
    let status = processes.read(&format!("{pid}/status")).unwrap_or_default();
    let first = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
    };
    let comm = |pid: u32| {
        let comm = processes.read(&format!("{pid}/comm")).unwrap_or_default();
        comm.trim_end_matches('\n').as_bytes().to_vec()
    };
    let parent = first("PPid").unwrap_or_default();
    WriteAttempt {
        path: WritePath::Held,
        action: Policy::Observe,
        detail: Some(hold.what.to_owned()),
        range: hold.range,
        process: Attacker {
            pid,
            tid: pid,
            uid: first("Uid").unwrap_or_default(),
            comm: comm(pid),
            exe: processes.link(&format!("{pid}/exe")),
            cgroup: processes.read(&format!("{pid}/cgroup")).ok().map(String::into_bytes),
            parent,
            parent_comm: comm(parent),
        },
    }
}
