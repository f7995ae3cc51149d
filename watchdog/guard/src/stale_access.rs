//! Path `held`: access that processes have from before the guard, or from a lease that is over.
//!
//! No hook runs again for a mapping that is already writable. So the guard searches for such
//! mappings, of any driver, and kills their processes. The programs judge each use of a descriptor
//! of `/dev/mem`. The guard kills a process for a descriptor only where policy forbids every
//! descriptor, or where no program judges its uses.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use std::{io, process};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use watchdog_common::DmaDevices;

use super::attempt::{Attacker, WriteAttempt};
use super::canary::Canary;
use super::frames::{Frames, Mapped};
use super::outcome::Outcome;
use super::processes::{Device, Open, Processes};
use super::{Policies, Policy, Processors, WritePath};
use watchdog_core::memory::PhysRange;

/// `MEM_MAJOR`, and the minor numbers of `/dev/mem` and `/dev/port` (drivers/char/mem.c).
const DEV_MEM: Device = (1, 1);
const DEV_PORT: Device = (1, 4);
/// How many rounds one search has, and how long all rounds together may take. This bounds the
/// search if a process forks faster than it is killed, or cannot be killed.
const ROUNDS: usize = 8;
const ALL_ROUNDS: Duration = Duration::from_secs(10);
/// How long one process may take to exit after the signal.
const KILL_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the self-test searches all processes while the guard is in force.
const SEARCH_INTERVAL: Duration = Duration::from_secs(60);

/// Searches for access that only the watchdog may have.
#[derive(Debug)]
pub(super) struct StaleAccessSearch {
    /// The list of writable mappings of guarded memory, or why it is missing.
    frames: Result<Frames, String>,
    /// Whether to search for `/dev/mem` open for writing.
    mem: bool,
    /// Whether to search for `/dev/port` open for writing.
    port: bool,
    /// Devices of an IOMMU. `None`: they are not searched for.
    dma_devices: Option<DmaDevices>,
    /// The processors that this node may start. The search is for open files that start another
    /// one. `None`: there is no such search.
    processors: Option<Processors>,
}

/// One kind of access that a process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StaleAccess {
    what: &'static str,
    range: Option<PhysRange>,
    /// Whether it is certain that policy forbids it.
    is_certain: bool,
}

impl StaleAccess {
    fn mapped(mapped: &Mapped) -> Self {
        let is_certain = mapped.range.is_some();
        let what = match mapped.device {
            _ if !is_certain => "a mapping that is too large to walk",
            DEV_MEM => "a mapping of /dev/mem",
            _ => "memory that a driver mapped",
        };
        Self { what, range: mapped.range, is_certain }
    }
}

impl StaleAccessSearch {
    /// A search with these policies. `uses_are_judged`: whether programs judge each use of a
    /// descriptor.
    pub(super) fn new(
        frames: Result<Frames, String>,
        policies: &Policies,
        uses_are_judged: bool,
        dma_devices: DmaDevices,
        processors: Processors,
    ) -> Self {
        let denied = |path| policies.get(path) >= Policy::Deny;
        Self {
            frames,
            mem: denied(WritePath::Open),
            port: denied(WritePath::Pci) && !uses_are_judged,
            dma_devices: denied(WritePath::Iommu).then_some(dma_devices),
            processors: denied(WritePath::Processors).then_some(processors),
        }
    }

    /// Every writable mapping of memory that no process may write. Mappings that could not be
    /// walked are included. To test the list, this process maps the inner canary page, and the list
    /// must contain that mapping.
    fn mapped(&self, canary: Option<&Canary>) -> io::Result<Vec<Mapped>> {
        let frames = self.frames.as_ref().map_err(|why| io::Error::other(why.clone()))?;
        let canary = canary.filter(|canary| canary.is_writable);
        let mapping = canary.map(Canary::try_frames).transpose()?;
        let mut mapped = frames.mapped()?;
        let is_own = |it: &Mapped| it.is_canary() && it.pid == process::id();
        if mapping.is_some() && !mapped.iter().any(is_own) {
            return Err(io::Error::other("an existing mapping of /dev/mem was not found"));
        }
        mapped.retain(|it| !it.is_canary());
        Ok(mapped)
    }

    /// A file or device that the process has open and that policy forbids.
    fn open(&self, processes: &Processes, pid: u32) -> Option<StaleAccess> {
        if !(self.mem || self.port || self.dma_devices.is_some() || self.processors.is_some()) {
            return None;
        }
        let open = processes.open_files(pid).unwrap_or_default();
        let what = open.iter().find_map(|(open, writes)| match *open {
            Open::Device(DEV_MEM) if self.mem && *writes => Some("/dev/mem open for writing"),
            Open::Device(DEV_PORT) if self.port && *writes => Some("/dev/port open for writing"),
            Open::Device(device) if self.is_dma_device(device) => Some("VFIO or iommufd open"),
            Open::Processor(number) if *writes && self.is_foreign(number) => {
                Some("a file that starts another node's processor, open for writing")
            }
            _ => None,
        });
        what.map(|what| StaleAccess { what, range: None, is_certain: true })
    }

    fn is_foreign(&self, number: u32) -> bool {
        self.processors.as_ref().is_some_and(|own| !own.contains(number))
    }

    fn is_dma_device(&self, (major, minor): Device) -> bool {
        let Some(dma_devices) = &self.dma_devices else { return false };
        let number = (major << 20) | minor;
        dma_devices.majors.contains(&major) || dma_devices.numbers.contains(&number)
    }

    /// Finds the processes with forbidden access, except this process and `excepted`.
    fn find(
        &self,
        processes: &Processes,
        canary: Option<&Canary>,
        excepted: u32,
    ) -> io::Result<BTreeMap<u32, StaleAccess>> {
        let all = processes.all()?.into_iter();
        let mut found: BTreeMap<u32, StaleAccess> =
            all.filter_map(|pid| Some((pid, self.open(processes, pid)?))).collect();
        for mapped in self.mapped(canary)? {
            let access = StaleAccess::mapped(&mapped);
            // A certain finding takes precedence over an uncertain one.
            if access.is_certain || !found.contains_key(&mapped.pid) {
                found.insert(mapped.pid, access);
            }
        }
        found.retain(|pid, _| ![excepted, process::id()].contains(pid));
        Ok(found)
    }

    /// Applies the policy to every process with forbidden access: reports it, or kills it. A
    /// process that could not be killed is returned as only observed.
    fn end(&self, policy: Policy, canary: Option<&Canary>) -> io::Result<Vec<WriteAttempt>> {
        let mut attempts: Vec<WriteAttempt> = Vec::new();
        if policy == Policy::Off {
            return Ok(attempts);
        }
        let (processes, begun) = (Processes::open()?, Instant::now());
        for _ in 0..ROUNDS {
            let found = self.find(&processes, canary, process::id())?;
            let is_over = !found.values().any(|it| it.is_certain) || policy < Policy::Kill;
            for (pid, access) in found {
                let mut attempt = attempt(&processes, pid, access);
                let is_patient = begun.elapsed() < ALL_ROUNDS;
                let ends = policy >= Policy::Kill && is_patient && access.is_certain;
                if ends && self.kill(&processes, pid, access) {
                    attempt.action = Policy::Kill;
                }
                attempts.retain(|it| it.process.pid != pid);
                attempts.push(attempt);
            }
            if is_over {
                break;
            }
        }
        Ok(attempts)
    }

    /// Kills a process if it still has the access. Returns whether the process is gone.
    fn kill(&self, processes: &Processes, pid: u32, access: StaleAccess) -> bool {
        // Process 1 ignores signals that it does not handle.
        let id = i32::try_from(pid).ok().filter(|id| *id > 1).and_then(Pid::from_raw);
        // From here on the kernel cannot give the number to another process.
        let Some(process) = id.and_then(|id| pidfd_open(id, PidfdFlags::empty()).ok()) else {
            return false;
        };
        let still = match access.range {
            Some(_) => self.mapped(None).is_ok_and(|all| all.iter().any(|it| it.pid == pid)),
            None => self.open(processes, pid).is_some(),
        };
        if !still {
            return false;
        }
        if pidfd_send_signal(&process, Signal::KILL).is_err() {
            return false;
        }
        let begun = Instant::now();
        while let Some(left) = KILL_TIMEOUT.checked_sub(begun.elapsed()) {
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

/// The policy of path `held`, and the result of its searches.
#[derive(Debug)]
pub(super) struct StaleAccessWatch {
    search: StaleAccessSearch,
    policy: Policy,
    /// The watchdog's process, which may have this access.
    watchdog: u32,
    /// When all processes were last searched, and the result.
    last: Option<(Instant, Outcome)>,
    /// Whether a lease is in force: its process may then have this access.
    pub(super) is_leased: bool,
}

impl StaleAccessWatch {
    pub(super) fn new(search: StaleAccessSearch, policy: Policy, watchdog: u32) -> Self {
        Self { search, policy, watchdog, last: None, is_leased: false }
    }

    /// Applies the policy once. Returns the processes that had forbidden access.
    pub(super) fn end(&mut self, canary: Option<&Canary>) -> Vec<WriteAttempt> {
        self.search.end(self.policy, canary).unwrap_or_else(|error| {
            // The next self-test searches at once, and reports the error.
            self.last = None;
            log::warn!("the access that processes hold cannot be listed: {error}");
            Vec::new()
        })
    }

    /// The result for the self-test. It is [`Outcome::Missing`] if a process still has access that
    /// the guard should have ended, or if the access cannot be listed. A search runs at most once
    /// per [`SEARCH_INTERVAL`], and not during a lease.
    pub(super) fn outcome(&mut self, canary: Option<&Canary>) -> Outcome {
        let is_recent = |at: &Instant| self.is_leased || at.elapsed() < SEARCH_INTERVAL;
        if let Some((_, outcome)) = self.last.as_ref().filter(|(at, _)| is_recent(at)) {
            return outcome.clone();
        }
        if self.is_leased {
            return Outcome::NotTried("a lease is in force");
        }
        let outcome = self.search_now(canary);
        self.last = Some((Instant::now(), outcome.clone()));
        outcome
    }

    fn search_now(&self, canary: Option<&Canary>) -> Outcome {
        let find = |it: Processes| self.search.find(&it, canary, self.watchdog);
        match Processes::open().and_then(find) {
            Ok(found) => match found.first_key_value() {
                Some((pid, access)) if self.policy >= Policy::Kill => {
                    Outcome::Missing(format!("process {pid} still holds {}", access.what))
                }
                _ => Outcome::Seen,
            },
            Err(error) => Outcome::Missing(format!(
                "the access that processes hold cannot be listed: {error}"
            )),
        }
    }
}

/// The report about a process with forbidden access. It reads `/proc` while the process is alive.
fn attempt(processes: &Processes, pid: u32, access: StaleAccess) -> WriteAttempt {
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
        detail: Some(access.what.to_owned()),
        range: access.range,
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
