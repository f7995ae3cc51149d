//! Alerts that journald does not receive when they are sent.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::guard::configured;
use super::journal::Entry;
use super::siege::service::between_watchdogs;
use super::stage::WATCHDOG;
use super::{List, Stage, Start};

pub(super) const CASES: List = &[
    ("robust: a journal that is away for some seconds", Start::Standard, journal_away),
    ("robust: a journal whose name another process takes", Start::Standard, journal_taken),
    ("robust: a journal whose socket has a filter", Start::Standard, journal_filtered),
    ("robust: a journal that does not hear the next watchdog", Start::Standard, journal_deaf),
];

const STOP: &str = "systemctl stop systemd-journald.socket systemd-journald-dev-log.socket \
                        systemd-journald-audit.socket systemd-journald.service 2>/dev/null";
const START: &str = "systemctl start systemd-journald.socket systemd-journald-dev-log.socket \
                         systemd-journald-audit.socket systemd-journald.service";

/// Check that attempts that are denied while journald is away are in the journal once it is back.
/// They must be in order, with the time of each attempt.
fn journal_away(stage: &Stage) -> Result<()> {
    reported_later(stage, &format!("{STOP}; ! pgrep -x systemd-journal"), START, |_| Ok(()))
}

/// Check the same where another process takes journald's name for that time and reads what is sent
/// there. That process must be reported.
fn journal_taken(stage: &Stage) -> Result<()> {
    let take = format!(
        "{STOP}; rm /run/systemd/journal/socket
         setsid disarm --by take-journal </dev/null >/tmp/taken 2>&1 &
         until test -S /run/systemd/journal/socket; do sleep 0.05; done"
    );
    reported_later(stage, &take, &format!("pkill -x disarm; {START}"), |mark| {
        let taken = stage.wait_for(mark, "who took it", |entry| {
            entry.is("guard-tampered") && entry.field("MESSAGE").contains("(disarm, /")
        })?;
        let said = taken.field("MESSAGE");
        ensure!(said.contains("sent to the journal went to"), "{taken:?}");
        let taken = stage.shell("cat /tmp/taken")?;
        ensure!(taken.text().contains("WATCHDOG_EVENT=write-denied"), "it read nothing: {taken}");
        Ok(())
    })
}

/// Check the same where a filter on journald's socket, or a program in a map of sockets, drops what
/// arrives. The watchdog's send succeeds then.
fn journal_filtered(stage: &Stage) -> Result<()> {
    const PID: &str = "--pid $(pgrep -x systemd-journal)";
    let filter = format!("disarm --by filter-journal {PID}");
    let unfilter = format!("disarm --by unfilter-journal {PID}");
    let map = format!(
        "setsid disarm --by map-journal {PID} </dev/null >/tmp/map 2>&1 &
         until grep -q there /tmp/map; do sleep 0.05; done"
    );
    for (filter, undo) in [(filter, unfilter), (map, "pkill -x disarm".to_owned())] {
        reported_later(stage, &filter, &undo, |mark| {
            stage.wait_for(mark, "that there was a filter", |entry| {
                entry.is("guard-tampered")
                    && entry.field("MESSAGE").contains("to the journal went through a filter")
            })?;
            Ok(())
        })?;
    }
    Ok(())
}

/// Check that a watchdog that the journal does not hear does not take the guard over. It must end
/// with a status after which systemd restarts it.
fn journal_deaf(stage: &Stage) -> Result<()> {
    between_watchdogs(stage, || {
        stage.shell(STOP)?;
        let run = stage.machine().node0().shell(&format!("{WATCHDOG} run"))?;
        stage.shell(START)?;
        ensure!(
            run.status == 3 && run.to_string().contains("no new guard was put in force"),
            "{run}"
        );
        let status = stage.machine().node0().shell(&format!("{WATCHDOG} guard status"))?;
        ensure!(status.text().contains("not watched"), "{status}");
        Ok(())
    })
}

/// Disturbs journald, has some attempts denied, and undoes the disturbance. All attempts must be
/// reported then. `check` gets the position in the journal from before.
fn reported_later(
    stage: &Stage,
    meanwhile: &str,
    undo: &str,
    check: impl FnOnce(usize) -> Result<()>,
) -> Result<()> {
    configured(stage, "", || {
        let (mark, watchdog) = (stage.mark()?, stage.watchdog()?);
        let target = stage.machine().truth(1)?.text_phys_start + 0x1000;
        stage.shell(meanwhile)?;
        let mut attackers = Vec::new();
        for path in ["write", "mmap", "mprotect"] {
            let attack = stage.attack_unchanged(path, target, &["--via", "0x20001000"])?;
            ensure!(attack.result == "EPERM", "{path}: {}", attack.result);
            attackers.push(attack.pid);
        }
        thread::sleep(Duration::from_secs(3));
        stage.shell(undo)?;
        let is_last = |entry: &Entry| entry.field("WATCHDOG_PID") == attackers[2];
        stage.wait_for(mark, "the last attempt", is_last)?;
        let entries = stage.alerts(mark)?;
        let attempts: Vec<_> = entries.iter().filter(|it| it.is("write-denied")).collect();
        let came: Vec<_> = attempts.iter().map(|entry| entry.field("WATCHDOG_PID")).collect();
        ensure!(came == attackers, "{entries:#?}");
        ensure!(attempts.is_sorted_by_key(|entry| entry.field("WATCHDOG_TIME")), "{entries:#?}");
        ensure!(stage.watchdog()? == watchdog, "the watchdog was started again");
        check(mark)
    })
}
