//! The guard as it runs.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;
use std::{fs, io};

use aya::Ebpf;
use aya::maps::{Array, HashMap, Map};

use super::armed::Armed;
use super::attempt::WriteAttempt;
use super::config::GuardConfig;
use super::coverage::Coverage;
use super::error::GuardError;
use super::event::GuardEvent;
use super::facts::KernelFacts;
use super::foreign::{self, Foreign};
use super::frames::{self, Frames};
use super::in_force::InForce;
use super::kept::Kept;
use super::lease::LeaseTable;
use super::loaded::Loaded;
use super::plan::{Earlier, Plan};
use super::processes::Processes;
use super::reader::JournalReader;
use super::reported::ReportedCounts;
use super::reports::Reports;
use super::search_schedule::SearchSchedule;
use super::self_test::{Handles, SelfTest};
use super::{kernel_enums, preflight, role};
use watchdog_core::locate::Stop;

/// The loaded guard. Before [`Guard::keep`], dropping it takes the guard down. After it, the guard
/// stays in force.
pub struct Guard {
    /// Holds the programs' descriptors.
    _programs: Ebpf,
    kept: Kept,
    self_test: SelfTest,
    search_schedule: SearchSchedule,
    reports: Reports,
    leases: LeaseTable,
    has_lsm: bool,
    handed_over: HandedOver,
}

/// Values that other parts of the watchdog take, each once.
struct HandedOver {
    /// Sentences about images and baselines that an earlier watch used and this one does not.
    changed: Vec<String>,
    /// Stale access that was found when the guard was armed.
    stale_access: Vec<WriteAttempt>,
    reported: Option<ReportedCounts>,
    reader: Option<JournalReader>,
}

impl Guard {
    /// Loads, attaches and pins all programs. A guard that is already in force stays beside it.
    /// From here on the programs deny writes; [`Guard::self_test`] checks that they do.
    ///
    /// # Errors
    /// [`GuardError`], each with a remedy; [`GuardError::Stopped`] if `stop` was asked. A guard
    /// that failed to load leaves nothing behind.
    pub fn load(config: &GuardConfig, stop: &Stop) -> Result<Self, GuardError> {
        let kernel = preflight::check(config.without_lsm)?;
        role::lock_memory().map_err(GuardError::Swap)?;
        let processes = Processes::open().map_err(GuardError::Processes)?;
        let facts = KernelFacts::read(kernel, &processes)?;
        // The order matters: a guard that is put in force between the two calls is listed.
        InForce::clear_unfinished()?;
        let earlier = InForce::all()?;
        let records = earlier.iter().map(|guard| &guard.record);
        let replaced: Vec<_> =
            records.map(|record| Earlier { record, is_watched: record.is_watched() }).collect();
        let plan = Plan::new(config, &facts, &replaced)?;
        // The guard can protect a folder only once it exists. A failure is reported when the folder
        // is needed. Beside an earlier guard the folder is not made here: that guard refuses new
        // folders to others, but would allow one to this process.
        if earlier.is_empty() {
            let _ = fs::create_dir_all(&config.baselines);
        }
        let loaded = Loaded::new(facts, plan, earlier, stop)?;
        Self::start(Armed::new(loaded, &processes, stop)?)
    }

    /// Applies the policy to access that predates the guard, and takes the tables that the programs
    /// write to.
    fn start(Armed(guard): Armed) -> Result<Self, GuardError> {
        let has_lsm = guard.facts.has_lsm();
        let reasons = kernel_enums::reasons(&guard.facts.kernel.btf);
        let frames = guard.facts.page_tables.clone().and_then(|_| {
            let program = list(&guard.programs, frames::PROGRAM);
            program.map(Frames::new).map_err(|error| error.to_string())
        });
        let foreign = foreign_programs(&guard);
        let Loaded { pinned, mut programs, log, canary, facts, plan, earlier, .. } = guard;
        let handles = Handles {
            canary: Some(canary),
            probes_seen: Array::try_from(take(&mut programs, "PROOFS")?)?,
            pin: pinned.generation.canary(),
            frames,
            foreign,
            dma_devices: Some(facts.dma_devices),
        };
        let mut self_test = SelfTest::new(&plan.record, plan.lacking, has_lsm, handles);
        let stale_access = self_test.end_stale_access();
        let peers = take(&mut programs, "PEERS")?;
        let handed_over = HandedOver {
            changed: plan.changed,
            stale_access,
            reported: Some(ReportedCounts::new(Array::try_from(take(&mut programs, "TOLD")?)?)),
            reader: journal_reader(peers).filter(|_| has_lsm),
        };
        Ok(Self {
            reports: Reports::of(&mut programs, log, reasons)?,
            leases: LeaseTable::new(take(&mut programs, "LEASE")?, take(&mut programs, "LEASED")?)?,
            _programs: programs,
            kept: Kept::new(pinned, plan.record, earlier),
            self_test,
            search_schedule: SearchSchedule::default(),
            has_lsm,
            handed_over,
        })
    }

    /// Tests every path, and enters the result into the record. The test is cheap enough for every
    /// period.
    pub fn self_test(&mut self) -> Coverage {
        self.self_test.stale_access.is_leased = self.leases.is_taken();
        let coverage = self.self_test.run();
        self.kept.enter(&coverage);
        coverage
    }

    /// Puts the guard in force: it stays when the process ends. Takes earlier guards down, and
    /// returns the attempts that they counted but did not report.
    ///
    /// # Errors
    /// [`GuardError`] when the record cannot be stored, or an earlier guard cannot be removed.
    pub fn keep(&mut self) -> Result<Vec<GuardEvent>, GuardError> {
        let events = self.kept.put_in_force()?;
        self.self_test.foreign.is_alone();
        Ok(events)
    }

    /// Enters the baselines that the watch has on disk into the record: by node, the SHA-256 of
    /// each.
    pub fn set_baselines(&mut self, baselines: BTreeMap<String, String>) {
        self.kept.set_baselines(baselines);
    }

    /// Sentences about images and baselines that an earlier watch used and this one does not; once.
    pub fn take_changed(&mut self) -> Vec<String> {
        std::mem::take(&mut self.handed_over.changed)
    }

    /// What kept the guard's pins beside this process, and no longer does; each once.
    pub fn lost_holders(&mut self) -> Vec<&'static str> {
        self.kept.lost_holders()
    }

    /// Whether the guard's programs recognize the watchdog's executable in every process. Without
    /// LSM programs they recognize only this process.
    #[must_use]
    pub const fn knows_the_executable(&self) -> bool {
        self.has_lsm
    }

    /// The table of leases.
    pub fn leases(&mut self) -> &mut LeaseTable {
        &mut self.leases
    }

    /// Calls that no program judged since the last report of their path.
    pub fn recursion_misses(&mut self) -> Vec<GuardEvent> {
        let events = self.reports.recursion_misses();
        events.iter().for_each(|event| self.search_schedule.note(event));
        events
    }

    /// Reports the stale access that was found when the guard was armed; once.
    pub fn take_stale_access(&mut self) -> Vec<GuardEvent> {
        self.handed_over.stale_access.drain(..).map(GuardEvent::Attempt).collect()
    }

    /// Applies the policy to processes with stale access to guarded memory, or to files that policy
    /// forbids. Returns one event for each of these processes.
    pub fn end_stale_access(&mut self) -> Vec<GuardEvent> {
        self.search_schedule.begin(Instant::now());
        self.self_test.end_stale_access().into_iter().map(GuardEvent::Attempt).collect()
    }

    /// Does the same if an event made it due. Either a driver mapped guarded memory into a process
    /// that was killed for it, and a process that shares its memory still has the mapping. Or no
    /// program saw where a driver's mapping led. During a lease the search waits.
    pub fn end_new_stale_access(&mut self) -> Vec<GuardEvent> {
        if !self.search_schedule.is_due(Instant::now()) || self.leases.is_taken() {
            return Vec::new();
        }
        self.end_stale_access()
    }

    /// The counts of reported attempts, for the task that reports; once.
    pub fn take_reported(&mut self) -> Option<ReportedCounts> {
        self.handed_over.reported.take()
    }

    /// The object that finds the process that reads the journal's socket. `None` without LSM
    /// programs, and after the first call.
    pub fn take_reader(&mut self) -> Option<JournalReader> {
        self.handed_over.reader.take()
    }

    /// Waits for the next attempt. Cancel safe.
    pub async fn next_event(&mut self) -> GuardEvent {
        let event = self.reports.next().await;
        self.search_schedule.note(&event);
        event
    }
}

/// Lists BPF programs of others that were loaded before the guard. The guard judges later ones when
/// they are loaded. Programs of earlier guards are left out while these are in force.
fn foreign_programs(guard: &Loaded) -> Foreign {
    let earlier = guard.earlier.iter().flat_map(|it| it.record.programs.iter().copied());
    Foreign::new(
        list(&guard.programs, foreign::PROGRAM),
        &guard.facts.kernel.btf,
        earlier.collect(),
        guard.facts.helpers.is_some(),
    )
}

/// The descriptor of a program that makes a list.
fn list(programs: &Ebpf, name: &str) -> io::Result<OwnedFd> {
    let program = programs.program(name).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    program.fd().map_err(io::Error::other)?.as_fd().try_clone_to_owned()
}

/// Takes one of the programs' tables.
fn take(programs: &mut Ebpf, name: &'static str) -> Result<Map, GuardError> {
    programs.take_map(name).ok_or(GuardError::Missing(name))
}

/// Prepares the search for the process that reads the journal's socket.
fn journal_reader(peers: Map) -> Option<JournalReader> {
    let peers = HashMap::try_from(peers).ok()?;
    let processes = Processes::open();
    let processes = processes.inspect_err(|error| {
        log::warn!("the reader of the journal's socket is unknown: {error}");
    });
    Some(JournalReader::new(peers, processes.ok()?))
}
