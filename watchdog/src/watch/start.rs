//! All of `run`: the steps of the start, and then the service until a signal stops it.

use std::time::Duration;

use libsystemd::daemon::NotifyState;

use super::attribution::WriteLog;
use super::error::WatchError;
use super::invariant::{self, Invariant};
use super::leases::Leases;
use super::messages;
use super::nodes::{WatchedNodes, enough};
use super::options::WatchOptions;
use super::patrol::Patrol;
use super::pulse::{Heart, Startup, notify};
use super::receipts::ReportedAttempts;
use super::reporter::Reporter;
use super::second::Second;
use super::self_test::{SelfTestWatch, armed, degraded, judged_by_less, unguarded};
use super::service::Service;
use super::stopping::Stopping;
use super::sweeper::Sweeper;
use super::wakeup::{Signals, Wakeups};
use super::watched_guard::{BaselineWatch, WatchedGuard};
use crate::alert::Outlet;
use crate::node::{Found, Nodes, Target};
use watchdog_core::locate::Stop;
use watchdog_core::memory::{RangeSet, ReadError};
use watchdog_guard::{Guard, role};

/// The longest wait for the delivery of all events before the guard is put in force.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(15);

/// The shortest time for which a node's clocks may stand still, in periods.
const STILL: u32 = 3;

/// Watches until SIGTERM or SIGINT. A signal during the start ends it within two seconds.
///
/// `search` finds the nodes once the guard is armed, until it is asked to stop. It calls its last
/// argument while it makes progress.
/// `reported` gets the receipts of the events that `outlet` delivered.
///
/// # Errors
/// [`WatchError`], with a remedy if there is one.
pub async fn watch(
    target: Target,
    options: WatchOptions,
    outlet: &Outlet,
    reported: &mut ReportedAttempts,
    search: impl FnOnce(&Target, &Stop, &mut Progress<'_>) -> Result<Vec<Found>, ReadError>,
) -> Result<(), WatchError> {
    // This comes first, so a signal at the end of the start is handled after it.
    let signals = Signals::listen().map_err(WatchError::Signal)?;
    let stopping = Stopping::listen(outlet, messages::stopped_early).map_err(WatchError::Signal)?;
    let mut start = Start::begin(&target, &options, outlet, stopping);
    let (guard, nodes) = match start.run(search, reported) {
        // The signal is the reason for any error.
        Err(error) if start.stopping.stop().is_asked() => {
            log::debug!("the start was stopped: {error}");
            start.stopped();
            return Ok(());
        }
        started => started?,
    };
    let sweeps = Heart::default();
    let sweeper = start.sweep(nodes, sweeps.clone());
    // Without security modules the programs trust no process but this one.
    let trusts_second = guard.as_ref().is_some_and(|it| it.guard.knows_the_executable());
    let second = trusts_second.then(Second::start);
    let wakeups = Wakeups::new(reported, signals, options.period, second, sweeper);
    start.progress.end(options.period);
    Service::new(guard, start.reporter, sweeps).run(wakeups).await
}

/// A guard that denies writes, and ends with this process unless it is put in force.
struct Armed {
    guard: Guard,
    self_tests: SelfTestWatch,
}

/// The start: the state that its steps share.
struct Start<'a> {
    target: &'a Target,
    options: &'a WatchOptions,
    outlet: &'a Outlet,
    reporter: Reporter,
    progress: Startup,
    stopping: Stopping,
}

/// Takes the bytes that are searched, and the bytes in all.
type Progress<'a> = dyn FnMut(u64, u64) + 'a;

impl<'a> Start<'a> {
    fn begin(
        target: &'a Target,
        options: &'a WatchOptions,
        outlet: &'a Outlet,
        stopping: Stopping,
    ) -> Self {
        outlet.send(messages::started(target));
        target.images.unreadable().iter().for_each(|it| outlet.send(messages::no_image(it)));
        let write_log = WriteLog::new(options.policies.clone());
        let invariant = target.guarded.clone().map(|it| Invariant::new(it, write_log.clone()));
        let queue = outlet.clone();
        let reporter = Reporter::new(write_log, invariant, move |event| queue.send(event));
        reporter.owners.set(configured(&target.nodes));
        let progress = Startup::begin("arming the guard");
        Self { target, options, outlet, reporter, progress, stopping }
    }

    /// Takes all steps. An error leaves no guard of this start behind.
    fn run(
        &mut self,
        search: impl FnOnce(&Target, &Stop, &mut Progress<'_>) -> Result<Vec<Found>, ReadError>,
        reported: &mut ReportedAttempts,
    ) -> Result<(Option<WatchedGuard>, WatchedNodes), WatchError> {
        // This comes before the search, so node 0 cannot change what the search finds.
        let armed = self.arm()?;
        self.check_stop()?;
        let found = self.find(search)?;
        self.check_stop()?;
        let nodes = self.judge(found)?;
        self.check_stop()?;
        // This comes after the first sweep: when the service is ready, every text was judged once.
        let guard = self.put_in_force(armed, &nodes, reported)?;
        Ok((guard, nodes))
    }

    /// Goes on unless a signal arrived.
    fn check_stop(&self) -> Result<(), WatchError> {
        Ok(self.stopping.stop().check()?)
    }

    /// Reports that a signal ended the start.
    fn stopped(&mut self) {
        notify(&[NotifyState::Stopping]);
        self.reporter.report_folded();
        self.reporter.report(messages::stopped_early());
        self.stopping.is_reported();
    }

    /// Arms and tests the guard. `None` if nothing is guarded, or if the guard cannot be loaded and
    /// `--degraded` allows that.
    fn arm(&mut self) -> Result<Option<Armed>, WatchError> {
        let mut armed = match &self.target.guarded {
            Some(ranges) => {
                invariant::check(ranges)?.map_or(Ok(()), |why| Err(WatchError::InUse(why)))?;
                self.load(ranges.clone())?
            }
            None => None,
        };
        match &mut armed {
            Some(Armed { guard, .. }) => {
                guard.take_reader().into_iter().for_each(|it| self.outlet.confirm_by(it));
            }
            // Otherwise this process could write to memory that an earlier guard denies to root.
            None => role::give_up().map_err(WatchError::Role)?,
        }
        self.reporter.check_uses();
        Ok(armed)
    }

    /// Loads and tests the guard. `--degraded` allows an incomplete guard, or none.
    fn load(&mut self, ranges: RangeSet) -> Result<Option<Armed>, WatchError> {
        let is_degraded = self.options.degraded;
        let stop = self.stopping.stop();
        let mut guard = match Guard::load(&self.options.guard_config(self.target, ranges), stop) {
            Ok(guard) => guard,
            Err(error) if is_degraded && !stop.is_asked() => {
                self.reporter.report(unguarded(&error));
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        guard.take_changed().iter().for_each(|it| self.reporter.report(judged_by_less(it)));
        guard.take_stale_access().into_iter().for_each(|it| self.reporter.guard_event(it));
        let coverage = guard.self_test();
        let open = coverage.open();
        if open.is_empty() {
            self.reporter.report(armed(&coverage));
        } else if is_degraded {
            self.reporter.report(degraded(&coverage));
        } else {
            return Err(WatchError::NotArmed(open.join("; ")));
        }
        let self_tests = SelfTestWatch::new(&coverage, self.reporter.write_log.clone());
        Ok(Some(Armed { guard, self_tests }))
    }

    /// Searches memory for the nodes. Unless `--wait` is given, there must be enough of them.
    fn find(
        &mut self,
        search: impl FnOnce(&Target, &Stop, &mut Progress<'_>) -> Result<Vec<Found>, ReadError>,
    ) -> Result<Vec<Found>, WatchError> {
        self.progress.step("searching memory for kernels");
        let (stop, progress) = (self.stopping.stop(), &mut self.progress);
        let found = search(self.target, stop, &mut |done, total| progress.progress(done, total))?;
        if !self.options.wait {
            enough(&self.target.nodes, &found).map_err(WatchError::NoNode)?;
        }
        Ok(found)
    }

    /// Loads or learns the baselines, and sweeps once. This takes longer than any later sweep.
    fn judge(&mut self, found: Vec<Found>) -> Result<WatchedNodes, WatchError> {
        self.progress.step("judging each node for the first time");
        let (target, options) = (self.target, self.options);
        let write_log = self.reporter.write_log.clone();
        let mut report = |event| self.reporter.report(event);
        let (store, limit) = (options.store(), options.boot_limit);
        let mut nodes = WatchedNodes::take_up(target, store, limit, found, &mut report)?;
        nodes.write_log = write_log;
        nodes.still = target.guarded.is_some().then(|| options.period * STILL);
        nodes.sweep(&*target.memory, &mut report)?;
        self.reporter.owners.set(nodes.owners());
        Ok(nodes)
    }

    /// Puts the guard in force if every event so far was delivered.
    fn put_in_force(
        &mut self,
        armed: Option<Armed>,
        nodes: &WatchedNodes,
        reported: &mut ReportedAttempts,
    ) -> Result<Option<WatchedGuard>, WatchError> {
        let Some(Armed { guard, self_tests }) = armed else {
            return self.end_of_start().map(|()| None);
        };
        self.progress.step("putting the guard in force");
        let leases =
            Leases::new(self.target, nodes.leased.clone(), self.reporter.write_log.clone());
        let baselines = BaselineWatch::new(self.options.store());
        let mut watched = WatchedGuard::new(guard, leases, self_tests, baselines);
        watched.update_baselines();
        if !self.outlet.is_delivered(DELIVERY_TIMEOUT) {
            return Err(WatchError::Undelivered(DELIVERY_TIMEOUT));
        }
        self.end_of_start()?;
        // From here on the guard stays in force, even if this process is killed.
        let inherited = watched.guard.keep()?;
        inherited.into_iter().for_each(|it| self.reporter.guard_event(it));
        watched.guard.take_reported().into_iter().for_each(|it| reported.count_into(it));
        Ok(Some(watched))
    }

    /// Leaves later signals to the service.
    fn end_of_start(&mut self) -> Result<(), WatchError> {
        if self.stopping.end_of_start() { Ok(()) } else { Err(ReadError::Stopped.into()) }
    }

    /// Starts the threads that sweep the nodes and search all memory.
    fn sweep(&self, nodes: WatchedNodes, heart: Heart) -> Sweeper {
        let Target { memory, nodes: plan, images, .. } = self.target;
        let patrol = Patrol::start(plan.clone(), images.clone(), memory.clone());
        Sweeper::start(
            nodes,
            patrol,
            memory.clone(),
            self.options.period,
            self.outlet.clone(),
            self.reporter.owners.clone(),
            heart,
        )
    }
}

/// The memory of each node before any kernel is found.
fn configured(nodes: &Nodes) -> Vec<(String, RangeSet)> {
    match nodes {
        Nodes::Configured(nodes) => {
            nodes.iter().map(|(name, memory)| (name.to_string(), memory.clone())).collect()
        }
        Nodes::Discovered { .. } => Vec::new(),
    }
}
