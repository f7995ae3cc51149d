//! The whole of `run`: arm the guard, find the nodes, then everything at once until told to stop.

use std::path::PathBuf;
use std::time::Duration;

use libsystemd::daemon::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::attempts::{Attempts, Owners};
use super::attribution::WriteLog;
use super::error::SweepError;
use super::invariant::{self, Invariant};
use super::leases::Leases;
use super::messages;
use super::nodes::{WatchedNodes, enough};
use super::patrol::Patrol;
use super::pulse::{Heart, Pulse, Startup, notify};
use super::receipts::ReportedAttempts;
use super::second::Second;
use super::self_test::{SelfTestWatch, armed, degraded, holder_lost, judged_by_less, unguarded};
use super::sweeper::Sweeper;
use crate::alert::{Event, Outlet};
use crate::node::{Found, Nodes, Target};
use watchdog_core::memory::{MapError, RangeSet, ReadError};
use watchdog_core::verify::{BaselineKey, BaselineStore};
use watchdog_guard::{
    Guard, GuardConfig, GuardError, GuardEvent, Policies, Processors, Release, Settings, role,
};

/// How long systemd waits for a sign of life at least: a sweep may have to search all of a node's
/// memory on a busy machine, and who is started anew meanwhile knows less than before.
const SIGN_OF_LIFE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the journal may take for what is sent before the guard is put in force.
const UNHEARD: Duration = Duration::from_secs(15);

/// Periods for which a node's clocks may stand still at least.
const STILL: u32 = 3;

/// How the watch is run.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// From the beginning of one sweep to the next.
    pub period: Duration,
    /// Go on with an incomplete guard.
    pub degraded: bool,
    /// Go on without nodes that are not there yet.
    pub wait: bool,
    /// Where baselines are kept.
    pub state_dir: PathBuf,
    /// Whose signature baselines must carry.
    pub baseline_key: Option<BaselineKey>,
    /// How long a node may boot before it counts as lost.
    pub boot_limit: Duration,
    /// What the guard does about each path.
    pub policies: Policies,
    /// Who may take it down.
    pub release: Release,
    /// What may be written by `/dev/mem` all the same.
    pub writable: RangeSet,
    /// Processors that may be started.
    pub processors: Processors,
    /// The configuration file, whether it exists or not.
    pub config: PathBuf,
}

impl WatchOptions {
    /// What nobody but the watchdog may change while the guard is in force: the configuration's
    /// folder where it is the watchdog's own, else the file, and the baselines.
    fn protected_files(&self) -> Vec<PathBuf> {
        let folder = self.config.parent().filter(|it| it.file_name() == Some("watchdog".as_ref()));
        let config = folder.unwrap_or(&self.config).to_owned();
        vec![config, self.state_dir.clone(), BaselineStore::folder(&self.state_dir)]
    }

    /// Where baselines are kept.
    fn store(&self) -> BaselineStore {
        let key = self.baseline_key.as_ref().map(|key| key.public().clone());
        BaselineStore::in_state_dir(&self.state_dir, key)
    }

    /// What the guard remembers of the watch.
    fn settings(&self, target: &Target) -> Settings {
        Settings {
            period: self.period,
            booting: self.boot_limit,
            baseline_key: self.baseline_key.as_ref().map(|key| key.text().to_owned()),
            images: target.images.digests(),
            baselines: self.store().digests(),
        }
    }
}

/// Why the watch did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The guard could not be loaded.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The guard is not whole.
    #[error(
        "the guard is not armed: {0}. Repair that, or run with --degraded to continue without \
         these denials"
    )]
    NotArmed(String),
    /// The memory is this kernel's own.
    #[error("{0}")]
    InUse(String),
    /// It is unknown which node owns the memory.
    #[error(transparent)]
    Map(#[from] MapError),
    /// Nothing to watch.
    #[error("{0}")]
    NoNode(String),
    /// Memory could not be searched.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Sweeping cannot go on.
    #[error(transparent)]
    Sweep(#[from] SweepError),
    /// Sweeping, which had begun, cannot go on.
    #[error("the watch cannot continue: {0}")]
    Broken(#[source] SweepError),
    /// The sweeper is gone.
    #[error("the sweeper thread died. This is a bug in watchdog; please report it")]
    SweeperDied,
    /// No event is reported.
    #[error(
        "the journal, or another destination of events, accepted nothing for {UNHEARD:?}. A \
         watchdog that cannot report puts no guard in force. Check that journald runs (systemctl \
         status systemd-journald.socket), and that no policy confines the watchdog (AppArmor, \
         Landlock)"
    )]
    Unheard,
    /// The role of an earlier guard remains.
    #[error(
        "no guard was armed, and the watchdog cannot give up the role that an earlier guard trusts"
    )]
    Role(#[source] std::io::Error),
    /// No signal handler.
    #[error("cannot listen for signals")]
    Signal(#[source] std::io::Error),
}

impl WatchError {
    /// Whether the watch had begun, so that another try may succeed.
    #[must_use]
    pub fn had_begun(&self) -> bool {
        matches!(self, Self::Broken(_) | Self::SweeperDied | Self::Unheard)
    }
}

/// Watches until SIGTERM or SIGINT.
///
/// `search` finds the nodes once the guard is armed. It may show its progress, and calls what it is
/// given as long as it goes on.
///
/// # Errors
/// [`WatchError`]; every one is final and says what to do.
pub async fn watch(
    target: Target,
    options: WatchOptions,
    outlet: &Outlet,
    reported_attempts: &mut ReportedAttempts,
    search: impl FnOnce(&Target, &mut dyn FnMut()) -> Result<Vec<Found>, ReadError>,
) -> Result<(), WatchError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(WatchError::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(WatchError::Signal)?;
    // By this `watchdog guard lease` says that there is something to look at.
    let mut asked = signal(SignalKind::user_defined1()).map_err(WatchError::Signal)?;
    let mut hung_up = signal(SignalKind::hangup()).map_err(WatchError::Signal)?;
    outlet.send(messages::started(&target));
    let mut startup = Startup::begin("arming the guard");

    if let Some(ranges) = &target.guarded {
        invariant::check(ranges)?.map_or(Ok(()), |why| Err(WatchError::InUse(why)))?;
    }
    let owners = Owners::default();
    owners.set(configured(&target.nodes));
    let (mut attempts, write_log) = (Attempts::default(), WriteLog::new(options.policies.clone()));
    let mut invariant = target.guarded.clone().map(|it| Invariant::new(it, write_log.clone()));
    // Armed before anything is looked at: what is found later cannot be changed by node 0 then.
    let mut guard = match &target.guarded {
        Some(ranges) => {
            let to_event = |event| {
                write_log.record_event(&event);
                attempts.event(event, &owners)
            };
            arm(ranges.clone(), &target, &options, outlet, to_event)?
        }
        None => None,
    };
    if guard.is_none() {
        // What an earlier guard keeps from root this process could write otherwise.
        role::give_up().map_err(WatchError::Role)?;
    }
    if let Some(reader) = guard.as_mut().and_then(Guard::take_reader) {
        outlet.confirm_by(reader);
    }
    invariant.iter_mut().flat_map(Invariant::check_uses).for_each(|it| outlet.send(it));
    let mut self_tests =
        guard.as_mut().map(|guard| SelfTestWatch::new(&guard.self_test(), write_log.clone()));

    startup.step("searching memory for kernels");
    let found = search(&target, &mut || startup.progress())?;
    if !options.wait {
        enough(&target.nodes, &found).map_err(WatchError::NoNode)?;
    }
    startup.step("judging each node for the first time");
    let store = options.store();
    let mut report = |event| outlet.send(event);
    let mut nodes = WatchedNodes::take_up(&target, store, options.boot_limit, found, &mut report)?;
    // Ready means that every text was judged once; the first time takes longer than any other.
    nodes.write_log = write_log.clone();
    nodes.still = target.guarded.is_some().then(|| options.period * STILL);
    nodes.sweep(&*target.memory, &mut report)?;

    owners.set(nodes.owners());
    let mut leases = Leases::new(nodes.leased.clone(), write_log.clone());
    if let Some(guard) = &mut guard {
        startup.step("putting the guard in force");
        guard.set_baselines(options.store().digests());
        if !outlet.is_heard(UNHEARD) {
            return Err(WatchError::Unheard);
        }
        // From here on the guard stays, whatever becomes of this process.
        let events = guard.keep()?;
        events.into_iter().filter_map(|it| attempts.event(it, &owners)).for_each(&mut report);
        if let Some(counts) = guard.take_reported() {
            reported_attempts.count_into(counts);
        }
    }
    let (sweeps, tested) = (Heart::default(), Heart::default());
    let mut pulse = Pulse::new([sweeps.clone(), tested.clone()]);
    let patrol = Patrol::start(target.nodes.clone(), target.images.clone(), target.memory.clone());
    let mut sweeper = Sweeper::start(
        nodes,
        patrol,
        target.memory.clone(),
        options.period,
        outlet.clone(),
        owners.clone(),
        sweeps,
    );
    let mut written = options.store().written();
    let mut second = guard.as_ref().filter(|it| it.knows_the_executable()).map(|_| Second::start());
    let mut next_test = interval(options.period);
    next_test.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // A sign of life comes with every self-test: systemd must wait for some periods, however
    // long.
    let timeout = u64::try_from((options.period * 4).max(SIGN_OF_LIFE_TIMEOUT).as_micros());
    notify(&[
        NotifyState::Ready,
        NotifyState::WatchdogUsec(timeout.unwrap_or(u64::MAX)),
        NotifyState::Status("watching".to_owned()),
    ]);
    loop {
        let (mut update, mut seen) = (None, Vec::new());
        tokio::select! {
            event = next_event(&mut guard) => seen.push(event),
            () = reported_attempts.count_next() => {}
            _ = next_test.tick() => {
                invariant.iter_mut().flat_map(Invariant::check_uses).for_each(|it| outlet.send(it));
                attempts.folded(&owners).into_iter().for_each(|event| outlet.send(event));
                if let (Some(guard), Some(self_tests)) = (guard.as_mut(), self_tests.as_mut()) {
                    let change = self_tests.compare(&guard.self_test());
                    change.into_iter().for_each(|it| outlet.send(it));
                    seen = guard.recursion_misses();
                    guard.lost_holders().iter().for_each(|it| outlet.send(holder_lost(it)));
                    update = Some(leases.update(guard, &target));
                }
                tested.beat();
                if pulse.all_beat() {
                    notify(&[NotifyState::Watchdog]);
                }
            }
            event = next_finding(&mut second) => {
                event.into_iter().for_each(|it| outlet.send(it));
                let now = options.store().written();
                if now != written {
                    guard.iter_mut().for_each(|it| it.set_baselines(options.store().digests()));
                    written = now;
                }
            }
            failure = sweeper.failure() => {
                return Err(failure.map_or(WatchError::SweeperDied, WatchError::Broken));
            }
            _ = asked.recv() => update = guard.as_mut().map(|it| leases.update(it, &target)),
            () = leases.over() => update = guard.as_mut().map(|it| leases.update(it, &target)),
            _ = hung_up.recv() => log::info!("SIGHUP: nothing to reload; restart the service"),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
        let mut report = |event: GuardEvent| {
            let broken = invariant.as_mut().map(|it| it.check_uses_after(&event));
            write_log.record_event(&event);
            attempts.event(event, &owners).into_iter().for_each(|it| outlet.send(it));
            broken.into_iter().flatten().for_each(|it| outlet.send(it));
        };
        seen.into_iter().for_each(&mut report);
        guard.iter_mut().flat_map(Guard::end_new_stale_access).for_each(report);
        for event in update.unwrap_or_default().into_events(&mut attempts, &owners) {
            outlet.send(event);
        }
    }
    notify(&[NotifyState::Stopping]);
    if let Some(guard) = &mut guard {
        leases.end(guard).into_events(&mut attempts, &owners).for_each(|event| outlet.send(event));
    }
    attempts.folded(&owners).into_iter().for_each(|event| outlet.send(event));
    outlet.send(messages::stopped(guard.is_some()));
    Ok(())
}

/// Loads the guard over `ranges` and tests it. `to_event` makes an event of each access that it
/// found. With `--degraded` the watch goes on with an incomplete guard, or with none.
fn arm(
    ranges: RangeSet,
    target: &Target,
    options: &WatchOptions,
    outlet: &Outlet,
    mut to_event: impl FnMut(GuardEvent) -> Option<Event>,
) -> Result<Option<Guard>, WatchError> {
    let config = GuardConfig {
        ranges,
        writable: options.writable.clone(),
        processors: options.processors.clone(),
        policies: options.policies.clone(),
        release: options.release.clone(),
        protected_files: options.protected_files(),
        baselines: BaselineStore::folder(&options.state_dir),
        settings: options.settings(target),
        without_lsm: options.degraded,
    };
    let mut guard = match Guard::load(&config) {
        Ok(guard) => guard,
        Err(error) if options.degraded => {
            outlet.send(unguarded(&error));
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    guard.take_changed().iter().for_each(|what| outlet.send(judged_by_less(what)));
    guard
        .take_stale_access()
        .into_iter()
        .filter_map(&mut to_event)
        .for_each(|event| outlet.send(event));
    let coverage = guard.self_test();
    let open = coverage.open();
    if open.is_empty() {
        outlet.send(armed(&coverage));
    } else if options.degraded {
        outlet.send(degraded(&coverage));
    } else {
        return Err(WatchError::NotArmed(open.join("; ")));
    }
    Ok(Some(guard))
}

/// Which memory is whose before anything was found.
fn configured(nodes: &Nodes) -> Vec<(String, RangeSet)> {
    match nodes {
        Nodes::Configured(nodes) => {
            nodes.iter().map(|(name, memory)| (name.to_string(), memory.clone())).collect()
        }
        Nodes::Discovered { .. } => Vec::new(),
    }
}

/// What a second process finds next; nothing ever, without a guard.
async fn next_finding(second: &mut Option<Second>) -> Option<Event> {
    match second {
        Some(second) => second.next().await,
        None => std::future::pending().await,
    }
}

/// What the guard reports next; nothing ever, without a guard.
async fn next_event(guard: &mut Option<Guard>) -> GuardEvent {
    match guard {
        Some(guard) => guard.next_event().await,
        None => std::future::pending().await,
    }
}
