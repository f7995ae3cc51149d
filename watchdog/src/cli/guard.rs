//! `watchdog guard`: what the guard in force is, whether it works, and its end.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;

use super::Status;
use super::guard_args::{DisarmArgs, GuardCommand, LeaseArgs, TellArgs};
use super::report::{json, people};
use super::secret::secret_of;
use crate::alert::{Event, EventKind, Journal, Sink, Terminal};
use watchdog_core::files;
use watchdog_core::text::printable;
use watchdog_guard::{Coverage, InForce, PathReport, Record, enter_first_mounts, hash, is_hidden};

/// How long the journal may take for one event.
const PATIENCE: Duration = Duration::from_secs(10);

/// Does what is asked.
pub(super) fn execute(command: GuardCommand) -> anyhow::Result<Status> {
    match command {
        GuardCommand::Status(args) => status(&args),
        GuardCommand::SelfTest(args) => self_test(&args),
        GuardCommand::Disarm(args) => disarm(&args),
        GuardCommand::Lease(args) => lease(&args),
        GuardCommand::Secret => secret(),
    }
}

/// The guard in force: the newest, where one was giving way to another.
fn in_force() -> anyhow::Result<InForce> {
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        bail!("the guard is root's to look at: run this with sudo");
    }
    if let Some(newest) = InForce::all()?.pop() {
        return Ok(newest);
    }
    if is_hidden() {
        bail!(
            "a guard is in force whose pins cannot be seen from here: programs of it refuse what \
             they are asked about. Look at /sys/fs/bpf in the namespace of process 1 (nsenter -t \
             1 -m), and whether something is mounted over it"
        );
    }
    bail!("no guard is in force: `watchdog run` arms one")
}

/// What `status --json` prints.
#[derive(Serialize)]
struct Report<'a> {
    watched: bool,
    #[serde(flatten)]
    record: &'a Record,
}

fn status(args: &TellArgs) -> anyhow::Result<Status> {
    let record = in_force()?.record;
    let watched = record.is_watched();
    if args.json {
        json(&Report { watched, record: &record })?;
    } else {
        let who = if watched {
            format!("watched by process {}", record.pid)
        } else {
            "not watched: no watchdog runs".to_owned()
        };
        let since = record.armed.strftime("%F %T UTC");
        let out = &mut people();
        writeln!(
            out,
            "The guard is in force since {since}, {who}.\nGuarded: {}\nIt is taken down {}. Last \
             tried: {}\n",
            record.memory(),
            record.release,
            record.proven.strftime("%F %T UTC"),
        )?;
        table(out, &record.coverage)?;
    }
    Ok(if watched && is_whole(&record.coverage) { Status::Good } else { Status::Tampered })
}

fn self_test(args: &TellArgs) -> anyhow::Result<Status> {
    let coverage: Coverage = in_force()?.self_test()?;
    let report = coverage.report();
    if args.json {
        json(&report)?;
    } else {
        let out = &mut people();
        writeln!(out, "{coverage}\n")?;
        table(out, &report)?;
    }
    Ok(if coverage.open().is_empty() { Status::Good } else { Status::Tampered })
}

/// Whether every path that the guard is about is covered.
fn is_whole(report: &[PathReport]) -> bool {
    let mut paths = report.iter().filter(|line| !line.is_beyond());
    !report.is_empty() && paths.all(|line| line.coverage != "uncovered")
}

fn table(out: &mut dyn Write, report: &[PathReport]) -> io::Result<()> {
    writeln!(out, "{:<5}{:<19}{:<11}why", "row", "path", "coverage")?;
    for line in report {
        let why = match &line.reason {
            Some(reason) if line.seen || line.coverage == "off" => reason.as_str(),
            Some(reason) => &format!("not tried: {reason}"),
            None => "tried",
        };
        let why = if line.coverage == "uncovered" { line.reason.as_deref() } else { Some(why) };
        let (row, path, coverage) = (line.row, &line.path, &line.coverage);
        writeln!(out, "{row:<5}{path:<19}{coverage:<11}{}", why.unwrap_or_default())?;
    }
    Ok(())
}

fn disarm(args: &DisarmArgs) -> anyhow::Result<Status> {
    InForce::clear_unfinished()?;
    let guards = InForce::all()?;
    let newest = guards.last().context("no guard is in force: there is nothing to take down")?;
    let secret = secret_for(&newest.record, args.secret_file.as_deref())?;
    guards.iter().try_for_each(|guard| guard.check(secret.as_deref()))?;
    // Whoever ends this process once the guard is down would have nobody know.
    enter_first_mounts().context(
        "the mount namespace of process 1, where the journal is, cannot be entered: the guard \
         stays in force",
    )?;
    for guard in &guards {
        let memory = guard.record.memory();
        let event = Event::new(
            EventKind::GuardDisarmed,
            format!(
                "The guard is taken down by user {}: this node's root can write to {memory} from \
                 now on",
                user()
            ),
        );
        tell_first(event).context(
            "the guard is taken down only once the journal has it, and the journal takes nothing: \
             start journald (systemctl start systemd-journald)",
        )?;
    }
    guards.into_iter().try_for_each(|guard| guard.disarm(secret.as_deref()))?;
    writeln!(people(), "The guard is down.")?;
    Ok(Status::Good)
}

/// Tells an event, and waits until the journal has it, or standard error on a system without one.
fn tell_first(event: Event) -> anyhow::Result<()> {
    let (done, told) = mpsc::channel();
    thread::spawn(move || {
        let sent = match Journal::connect() {
            Some(mut journal) => journal.send(&event),
            None => Terminal.send(&event),
        };
        let _ = done.send(sent);
    });
    told.recv_timeout(PATIENCE).with_context(|| format!("it took nothing within {PATIENCE:?}"))?
}

/// The secret to which a guard yields, where it is one: from a file, else asked for.
fn secret_for(record: &Record, file: Option<&Path>) -> anyhow::Result<Option<Vec<u8>>> {
    match file {
        Some(path) => secret_of(path).map(Some),
        None if record.release.wants_secret() && io::stdin().is_terminal() => {
            Ok(Some(rpassword::prompt_password("Secret: ")?.into_bytes()))
        }
        None => Ok(None),
    }
}

fn lease(args: &LeaseArgs) -> anyhow::Result<Status> {
    let guard = in_force()?;
    let (Some(node), Some(exe), Some(time)) = (&args.node, &args.exe, args.time) else {
        let terms = guard.end_lease()?;
        writeln!(people(), "The lease of node {} is ended.", terms.node)?;
        return Ok(Status::Good);
    };
    files::open(exe).with_context(|| format!("{} cannot be leased memory", exe.display()))?;
    let secret = secret_for(&guard.record, args.secret_file.as_deref())?;
    let user = format!("user {}", user());
    let terms = guard.lease(node.as_str(), exe, time, &user, secret.as_deref())?;
    writeln!(
        people(),
        "Node {node} is leased for {time:?}: who starts {} from now on may write its \
         memory.\nSHA-256 {}",
        exe.display(),
        terms.sha256
    )?;
    Ok(Status::Good)
}

/// Who asked for it: the user that logged in, who may have become root since.
fn user() -> String {
    /// `AUDIT_UID_UNSET`: nobody logged in, as for a service.
    const NOBODY: &str = "4294967295";
    let login = fs::read_to_string("/proc/self/loginuid").unwrap_or_default();
    match login.trim() {
        "" | NOBODY => "root, without a login".to_owned(),
        user => printable(user.as_bytes(), 16),
    }
}

/// Asks for a secret and prints its line for the configuration.
fn secret() -> anyhow::Result<Status> {
    let secret = if io::stdin().is_terminal() {
        let first = rpassword::prompt_password("Secret: ")?;
        let again = rpassword::prompt_password("Again: ")?;
        if first != again {
            bail!("the two are not the same: nothing was made");
        }
        first.into_bytes()
    } else {
        secret_of(Path::new("-"))?
    };
    if secret.is_empty() {
        bail!("the secret is empty: nothing was made");
    }
    let hash = hash(&secret).map_err(|error| anyhow::anyhow!("no hash was made: {error}"))?;
    writeln!(io::stdout(), "disarm_secret = \"{hash}\"")?;
    writeln!(
        io::stderr(),
        "Put this line under [guard] in the configuration, before the guard is armed."
    )?;
    Ok(Status::Good)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that a guard is whole only when each of its paths is covered; what is beyond it does
    /// not count.
    #[test]
    fn whole() {
        let line = |path: &'static str, coverage: &'static str| PathReport {
            row: 1,
            path: path.into(),
            coverage: coverage.into(),
            seen: true,
            reason: None,
        };
        assert!(is_whole(&[line("write", "denied"), line("firmware", "uncovered")]));
        assert!(!is_whole(&[line("write", "uncovered")]) && !is_whole(&[]));
    }
}
