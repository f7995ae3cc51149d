//! The whole of `run`: arm the guard, find the nodes, then everything at once until told to stop.

use std::time::Duration;

use libsystemd::daemon::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::attempts::{Attempts, Owners};
use super::attribution::WriteLog;
use super::error::WatchError;
use super::invariant::{self, Invariant};
use super::leases::Leases;
use super::messages;
use super::nodes::{WatchedNodes, enough};
use super::options::WatchOptions;
use super::patrol::Patrol;
use super::pulse::{Heart, Pulse, Startup, notify};
use super::second::Second;
use super::self_test::{SelfTestWatch, armed, degraded, holder_lost, judged_by_less, unguarded};
use super::sweeper::Sweeper;
use crate::alert::{Event, Outlet};
use crate::node::{Found, Nodes, Target};
use watchdog_core::memory::{RangeSet, ReadError};
use watchdog_guard::{Guard, GuardEvent, role};

/// How long systemd waits for a sign of life at least: a sweep may have to search all of a node's
/// memory on a busy machine, and who is started anew meanwhile knows less than before.
const SIGN_OF_LIFE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the journal may take for what is sent before the guard is put in force.
const UNHEARD: Duration = Duration::from_secs(15);

/// Periods for which a node's clocks may stand still at least.
const STILL: u32 = 3;

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
            return Err(WatchError::Unheard(UNHEARD));
        }
        // From here on the guard stays, whatever becomes of this process.
        let events = guard.keep()?;
        events.into_iter().filter_map(|it| attempts.event(it, &owners)).for_each(&mut report);
        if let Some(reported) = guard.take_reported() {
            outlet.count_reported(reported);
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
    let mut guard = match Guard::load(&options.guard_config(target, ranges)) {
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
