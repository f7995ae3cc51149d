//! The guard as it runs: its programs, the rules they go by, and what comes back from them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};
use std::{fs, io};

use aya::maps::{Array, HashMap, Map, MapData, RingBuf};
use aya::{Btf, Ebpf, EbpfLoader, Endianness, include_bytes_aligned};
use aya_log::EbpfLogger;
use jiff::Timestamp;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use watchdog_common::{PageTables, path};

use super::attach::attach;
use super::attempt::WriteAttempt;
use super::canary::Canary;
use super::config::GuardConfig;
use super::coverage::Coverage;
use super::error::{GuardError, InForceError};
use super::event::GuardEvent;
use super::foreign::{self, Foreign};
use super::frames::{self, Frames};
use super::holders::Holders;
use super::in_force::InForce;
use super::lease::LeaseTable;
use super::pinned::Pinned;
use super::pins::Generation;
use super::preflight::{self, PreflightError};
use super::processes::Processes;
use super::programs::lacking;
use super::reader::JournalReader;
use super::record::Record;
use super::recursion_misses::RecursionMisses;
use super::reported::ReportedCounts;
use super::rules::{record, rules};
use super::self_protection::{
    SelfProbes, pin_tables, protect_files_of, register_files, register_ids,
};
use super::self_test::SelfTest;
use super::stale_access::{StaleAccessSearch, StaleAccessWatch};
use super::{WritePath, dma_devices, kernel_enums};
use crate::role;

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/watchdog-ebpf"));

/// How soon it is looked again for who holds what nobody may have.
const STALE_ACCESS_INTERVAL: Duration = Duration::from_secs(1);

/// The loaded guard. It stays in force when this is dropped, once it was [kept](Guard::keep);
/// before that it goes.
pub struct Guard {
    /// Holds the programs' descriptors.
    _programs: Ebpf,
    pinned: Pinned,
    record: Record,
    /// Guards that it is to replace.
    earlier: Vec<InForce>,
    attempts: AsyncFd<RingBuf<MapData>>,
    lost: Array<MapData, u64>,
    lost_reported: [u64; path::COUNT as usize],
    reported: Option<ReportedCounts>,
    reader: Option<JournalReader>,
    leases: LeaseTable,
    recursion_misses: RecursionMisses,
    /// Who holds the pins, once it is in force.
    holders: Option<Holders>,
    /// What an earlier watch judged by, and this one does not.
    changed: Vec<String>,
    /// Stale access that was found, not yet reported.
    stale_access: Vec<WriteAttempt>,
    /// Whether it is to be searched for again, and when that was done last.
    is_search_due: bool,
    last_search: Option<Instant>,
    log: Option<AsyncFd<EbpfLogger<&'static dyn log::Log>>>,
    self_test: SelfTest,
    has_lsm: bool,
    /// The kernel's reasons for asking security modules, by number.
    reasons: BTreeMap<u32, String>,
}

impl Guard {
    /// Loads, attaches and pins all programs, beside a guard that is in force already. From here on
    /// writes are denied; whether they really are, [`Guard::self_test`] says.
    ///
    /// # Errors
    /// [`GuardError`], each with what to do. Nothing is left of it then.
    pub fn load(config: &GuardConfig) -> Result<Self, GuardError> {
        let running = preflight::check(config.without_lsm)?;
        role::lock_memory().map_err(GuardError::Swap)?;
        let no_lsm = running.no_lsm.as_deref();
        let policies = match no_lsm {
            Some(_) => config.policies.deny_at_open(),
            None => config.policies.clone(),
        };
        let mut rules = rules(config, &policies)?;
        kernel_enums::resolve(&running.btf, &mut rules).map_err(PreflightError::from)?;
        let processes = Processes::open().map_err(GuardError::Processes)?;
        if !processes.finds_as_first().map_err(GuardError::Processes)? {
            return Err(GuardError::Mounts);
        }
        if no_lsm.is_none() {
            rules.has_lsm = 1;
            rules.init_mnt_ns = processes.init_mnt_ns().map_err(GuardError::Processes)?;
        }
        let helpers = foreign::helpers(&processes).unwrap_or_else(|error| {
            log::debug!("the helpers that BPF programs call are unknown: {error}");
            None
        });
        rules.helpers = helpers.unwrap_or_default();
        let mut record = record(config, &policies, &running.offsets, &rules)?;
        InForce::clear_unfinished()?;
        let mut earlier = InForce::all()?;
        let mut changed = Vec::new();
        for guard in &earlier {
            if guard.record.is_watched() {
                return Err(InForceError::Watched(guard.record.pid).into());
            }
            let weaker = |why| GuardError::Weaker(guard.record.armed, why);
            guard.record.yields_to(&record).map_err(weaker)?;
            changed.extend(guard.record.settings.changed(&config.settings));
        }
        // A folder can be protected only once it is there; that it cannot be made is reported when
        // it is needed. Not beside a guard, which trusts this process and keeps that from others.
        if earlier.is_empty() {
            let _ = fs::create_dir_all(&config.baselines);
        }
        // Before arming: in `strict` it could not be opened any more.
        let canary = open_canary(&mut earlier, no_lsm.is_some())?;
        let dma_devices = dma_devices::of_this_kernel();
        let tables = frames::page_tables();
        let mut pinned = Pinned { generation: Generation::create()?, state: None, keep: false };
        let mut programs = EbpfLoader::new()
            .override_global("OFFSETS", &running.offsets, true)
            .override_global("RULES", &rules, true)
            .override_global("DMA_DEVICES", &dma_devices, true)
            .override_global("PAGE_TABLES", tables.as_ref().unwrap_or(&PageTables::default()), true)
            .load(OBJECT)?;
        let pinned_tables = pin_tables(&programs, &pinned.generation)?;
        let state = programs.take_map("STATE").ok_or(GuardError::Missing("STATE"))?;
        pinned.state = Some(Array::try_from(state)?);
        // From here on whoever looks knows whose it is, and that it is not in force yet.
        pinned.write(&record)?;
        let log = EbpfLogger::init(&mut programs)
            .inspect_err(|error| log::debug!("eBPF's own messages are not shown: {error}"))
            .ok()
            .and_then(|logger| listen(logger).ok());
        let has_lsm = no_lsm.is_none();
        let generation = &pinned.generation;
        let btf = Btf::parse(running.btf.bytes(), Endianness::default())
            .map_err(|error| PreflightError::NoBtf(io::Error::other(error)))?;
        attach(&mut programs, &running.btf, &btf, &policies, has_lsm, false, generation)?;
        let state = pinned.state.as_mut().ok_or(GuardError::Missing("STATE"))?;
        register_files(state, generation, &config.protected_files, &processes)?;
        earlier.iter().try_for_each(|guard| protect_files_of(&guard.generation, &mut programs))?;
        // From here on the programs know this process, which may load what others may not.
        attach(&mut programs, &running.btf, &btf, &policies, has_lsm, true, generation)?;
        record.programs = register_ids(&mut programs, &pinned_tables)?;
        // Whoever comes later is judged.
        let frames = tables.and_then(|_| {
            let program = listing(&programs, frames::PROGRAM);
            program.map(Frames::new).map_err(|error| error.to_string())
        });
        let others = earlier.iter().flat_map(|guard| guard.record.programs.iter().copied());
        let foreign = Foreign::new(
            listing(&programs, foreign::PROGRAM),
            &running.btf,
            others.collect(),
            helpers.is_some(),
        );
        let search = StaleAccessSearch::new(
            frames,
            &policies,
            has_lsm,
            dma_devices,
            record.processors.clone(),
        );
        let mut stale_access =
            StaleAccessWatch::new(search, policies.get(WritePath::Held), record.pid);
        let ended = stale_access.end(Some(&canary));
        let mut map = |name| programs.take_map(name).ok_or(GuardError::Missing(name));
        let attempts = RingBuf::try_from(map("ATTEMPTS")?)?;
        let leases = LeaseTable::new(map("LEASE")?, map("LEASED")?)?;
        let self_test = SelfTest {
            canary: Some(canary),
            stale_access,
            waits: Cell::default(),
            probes_seen: Array::try_from(map("PROOFS")?)?,
            lacking: lacking(&running.btf, &policies, no_lsm),
            policies,
            dma_devices: Some(dma_devices),
            foreign,
            self_probes: SelfProbes {
                pin: pinned.generation.canary(),
                program: record.programs.first().copied().unwrap_or_default(),
                watchdog: record.pid,
            },
        };
        Ok(Self {
            attempts: listen(attempts)?,
            lost: Array::try_from(map("LOST")?)?,
            lost_reported: [0; path::COUNT as usize],
            reported: Some(ReportedCounts::new(Array::try_from(map("TOLD")?)?)),
            reader: journal_reader(map("PEERS")?).filter(|_| has_lsm),
            leases,
            recursion_misses: RecursionMisses::of(&programs),
            holders: None,
            changed,
            stale_access: ended,
            is_search_due: false,
            last_search: None,
            _programs: programs,
            pinned,
            record,
            earlier,
            log,
            self_test,
            has_lsm,
            reasons: kernel_enums::reasons(&running.btf),
        })
    }

    /// Tries each forbidden thing on a canary, and keeps the record of it. Cheap enough for every
    /// period.
    pub fn self_test(&mut self) -> Coverage {
        self.self_test.stale_access.is_leased = self.leases.is_taken();
        let coverage = self.self_test.run();
        self.record.proven = Timestamp::now();
        coverage.log(&self.record.coverage);
        self.record.coverage = coverage.report();
        if self.pinned.keep
            && let Err(error) = self.pinned.write(&self.record)
        {
            log::warn!("{}", watchdog_core::text::chain(&error));
        }
        coverage
    }

    /// Puts it in force: it stays when the process ends. Guards that were in force before it are
    /// taken down, and what they saw and did not report is returned.
    ///
    /// # Errors
    /// [`GuardError`] when the record cannot be kept, or an earlier guard does not go.
    pub fn keep(&mut self) -> Result<Vec<GuardEvent>, GuardError> {
        self.record.in_force = true;
        self.pinned.write(&self.record)?;
        self.pinned.keep = true;
        self.holders = Some(Holders::hold(self.pinned.generation.place())?);
        let mut events = Vec::new();
        for guard in self.earlier.drain(..) {
            events.extend(guard.give_way()?);
        }
        self.self_test.foreign.is_alone();
        Ok(events)
    }

    /// Enters into the record which baselines the watch has on disk, by node: SHA-256 of each.
    pub fn set_baselines(&mut self, baselines: BTreeMap<String, String>) {
        self.record.settings.baselines = baselines;
    }

    /// What an earlier watch judged by, and this one does not; once.
    pub fn take_changed(&mut self) -> Vec<String> {
        std::mem::take(&mut self.changed)
    }

    /// What held the guard in force beside this process, and does so no more; each once.
    pub fn lost_holders(&mut self) -> Vec<&'static str> {
        self.holders.as_mut().map_or_else(Vec::new, Holders::newly_lost)
    }

    /// Whether its programs know who runs the watchdog's executable, in whatever process. Without
    /// security modules they know this process alone.
    #[must_use]
    pub const fn knows_the_executable(&self) -> bool {
        self.has_lsm
    }

    /// The table of leases.
    pub fn leases(&mut self) -> &mut LeaseTable {
        &mut self.leases
    }

    /// Calls that were not judged since this was last asked; each path seldom.
    pub fn recursion_misses(&mut self) -> Vec<GuardEvent> {
        let misses = self.recursion_misses.new_ones().into_iter();
        let events: Vec<_> =
            misses.map(|(path, count)| GuardEvent::RecursionMisses { path, count }).collect();
        self.is_search_due |= events.iter().any(GuardEvent::leaves_mappings);
        events
    }

    /// The stale access that was found when the guard was armed; once.
    pub fn take_stale_access(&mut self) -> Vec<GuardEvent> {
        self.stale_access.drain(..).map(GuardEvent::Attempt).collect()
    }

    /// Does what policy says about processes with stale access to guarded memory, or to what policy
    /// forbids; returns who they were.
    pub fn end_stale_access(&mut self) -> Vec<GuardEvent> {
        self.last_search = Some(Instant::now());
        self.self_test.end_stale_access().into_iter().map(GuardEvent::Attempt).collect()
    }

    /// The same where it is time for it: a driver mapped guarded memory into a process that was
    /// killed for it, and who shares its memory still has that; or nobody saw where a driver's
    /// mapping led. During a lease it is not yet time.
    pub fn end_new_stale_access(&mut self) -> Vec<GuardEvent> {
        let is_time = self.last_search.is_none_or(|at| at.elapsed() >= STALE_ACCESS_INTERVAL);
        if !self.is_search_due || !is_time || self.leases.is_taken() {
            return Vec::new();
        }
        self.is_search_due = false;
        self.end_stale_access()
    }

    /// The counts of reported attempts, for the task that reports; once.
    pub fn take_reported(&mut self) -> Option<ReportedCounts> {
        self.reported.take()
    }

    /// Who reads what goes to the journal, where that can be seen; once.
    pub fn take_reader(&mut self) -> Option<JournalReader> {
        self.reader.take()
    }

    /// Waits for the next attempt. Cancel safe.
    pub async fn next_event(&mut self) -> GuardEvent {
        loop {
            let record = self.attempts.get_mut().next();
            let attempt = record.and_then(|it| WriteAttempt::of_record(&it, &self.reasons));
            let event = attempt.map(GuardEvent::Attempt).or_else(|| self.newly_lost());
            if let Some(event) = event {
                self.is_search_due |= event.leaves_mappings();
                return event;
            }
            tokio::select! {
                ready = self.attempts.readable_mut() => {
                    // Cleared first: what arrives after the next look is seen as ready again.
                    if let Ok(mut ready) = ready {
                        ready.clear_ready();
                    }
                }
                () = relay_log(&mut self.log) => {}
            }
        }
    }

    /// Attempts by one path that were lost since this was asked last.
    fn newly_lost(&mut self) -> Option<GuardEvent> {
        WritePath::ALL.into_iter().find_map(|path| {
            let reported = self.lost_reported.get_mut(path.number() as usize)?;
            let lost = self.lost.get(&path.number(), 0).ok()?;
            let count = lost.checked_sub(*reported).filter(|new| *new > 0)?;
            *reported = lost;
            Some(GuardEvent::Lost { path, count })
        })
    }
}

/// Opens the canary page. Guards in force that let nobody open it let this process, for that
/// moment.
fn open_canary(earlier: &mut [InForce], only_reading: bool) -> Result<Canary, GuardError> {
    if only_reading {
        return Ok(Canary::open_for_reading()?);
    }
    earlier.iter_mut().try_for_each(|guard| guard.let_open(true))?;
    let opened = Canary::open();
    earlier.iter_mut().try_for_each(|guard| guard.let_open(false))?;
    Ok(opened?)
}

/// The descriptor of a program that makes lists.
fn listing(programs: &Ebpf, name: &str) -> io::Result<OwnedFd> {
    let program = programs.program(name).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    program.fd().map_err(io::Error::other)?.as_fd().try_clone_to_owned()
}

/// Registers a ring buffer with the event loop.
fn listen<T: AsRawFd>(buffer: T) -> Result<AsyncFd<T>, GuardError> {
    // SAFETY: both kinds of ring buffer own their descriptor and keep it open and the same for as
    // long as they live; nobody takes them out of the `AsyncFd`.
    unsafe { AsyncFd::register_with_interest(buffer, Interest::READABLE) }
        .map_err(|refused| GuardError::Listen(refused.into()))
}

/// Passes eBPF's own messages on to the log.
async fn relay_log(log: &mut Option<AsyncFd<EbpfLogger<&'static dyn log::Log>>>) {
    let Some(log) = log else { return std::future::pending().await };
    if let Ok(mut ready) = log.readable_mut().await {
        ready.get_inner_mut().flush();
        ready.clear_ready();
    }
}

/// What finds the reader of what goes to the journal.
fn journal_reader(peers: Map) -> Option<JournalReader> {
    let peers = HashMap::try_from(peers).ok()?;
    let processes = Processes::open();
    let processes = processes.inspect_err(|error| {
        log::warn!("the reader of the journal's socket is unknown: {error}");
    });
    Some(JournalReader::new(peers, processes.ok()?))
}
