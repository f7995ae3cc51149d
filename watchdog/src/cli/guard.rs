//! `watchdog guard`: inspects, tests, leases and disarms the guard in force.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;

use super::Status;
use super::guard_args::{DisarmArgs, GuardCommand, LeaseArgs, OutputArgs};
use super::report::{json, people};
use super::secret::secret_of;
use crate::alert::{Event, EventKind, Journal, Sink, Terminal};
use watchdog_core::files;
use watchdog_core::text::printable;
use watchdog_guard::{
    Coverage, CoverageRow, Covered, InForce, Record, enter_first_mounts, hash, is_hidden,
};

/// How long the journal may take for one event.
const JOURNAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs a `guard` subcommand.
pub(super) fn execute(command: GuardCommand) -> anyhow::Result<Status> {
    match command {
        GuardCommand::Status(args) => status(&args),
        GuardCommand::SelfTest(args) => self_test(&args),
        GuardCommand::Disarm(args) => disarm(&args),
        GuardCommand::Lease(args) => lease(&args),
        GuardCommand::Secret => secret(),
    }
}

/// The guard in force: the newest one, if one guard is replacing another.
fn in_force() -> anyhow::Result<InForce> {
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        bail!("only root can inspect the guard: run this with sudo");
    }
    if let Some(newest) = InForce::all()?.pop() {
        return Ok(newest);
    }
    if is_hidden() {
        bail!(
            "a guard is in force, but its pins cannot be seen from here. Look at /sys/fs/bpf in \
             the mount namespace of process 1 (nsenter -t 1 -m), and check whether something is \
             mounted over it"
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

fn status(args: &OutputArgs) -> anyhow::Result<Status> {
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
            "The guard is in force (armed {since}), {who}.\nGuarded: {}\nIt can be taken down {}. \
             Last test: {}\n",
            record.memory(),
            record.release,
            record.proven.strftime("%F %T UTC"),
        )?;
        table(out, &record.coverage)?;
    }
    let is_good = watched && record.coverage.is_as_configured();
    Ok(if is_good { Status::Good } else { Status::Tampered })
}

fn self_test(args: &OutputArgs) -> anyhow::Result<Status> {
    let coverage = in_force()?.self_test()?;
    if args.json {
        json(&coverage)?;
    } else {
        let out = &mut people();
        writeln!(out, "{coverage}\n")?;
        table(out, &coverage)?;
    }
    Ok(if coverage.is_as_configured() { Status::Good } else { Status::Tampered })
}

fn table(out: &mut dyn Write, all: &Coverage) -> io::Result<()> {
    writeln!(out, "{:<5}{:<19}{:<11}why", "row", "path", "coverage")?;
    for CoverageRow { row, path, coverage, seen, reason } in all.rows() {
        let why = match (coverage, reason.as_deref()) {
            (Covered::Uncovered, reason) => reason.unwrap_or_default(),
            (Covered::Off, Some(reason)) => reason,
            (_, Some(reason)) if *seen => reason,
            (_, Some(reason)) => &format!("not tested: {reason}"),
            (_, None) => "tested",
        };
        writeln!(out, "{row:<5}{path:<19}{coverage:<11}{why}")?;
    }
    Ok(())
}

fn disarm(args: &DisarmArgs) -> anyhow::Result<Status> {
    InForce::clear_unfinished()?;
    let guards = InForce::all()?;
    let newest = guards.last().context("no guard is in force: there is nothing to take down")?;
    let secret = secret_for(&newest.record, args.secret_file.as_deref())?;
    guards.iter().try_for_each(|guard| guard.check(secret.as_deref()))?;
    // The event is reported first: once the guard is down, another process could kill this one.
    enter_first_mounts().context(
        "the mount namespace of process 1, where the journal is, cannot be entered: the guard \
         stays in force",
    )?;
    for guard in &guards {
        let memory = guard.record.memory();
        let event = Event::new(
            EventKind::GuardDisarmed,
            format!(
                "The guard is taken down by user {}. From now on, root on node 0 can write to \
                 {memory}",
                user()
            ),
        );
        report_first(event).context(
            "the guard is taken down only after the journal has recorded it, and the journal \
             accepts nothing: start journald (systemctl start systemd-journald)",
        )?;
    }
    guards.into_iter().try_for_each(|guard| guard.disarm(secret.as_deref()))?;
    writeln!(people(), "The guard is down.")?;
    Ok(Status::Good)
}

/// Reports an event, and waits until the journal has it. Without a journal, standard error gets it.
fn report_first(event: Event) -> anyhow::Result<()> {
    let (done, taken) = mpsc::channel();
    thread::spawn(move || {
        let sent = match Journal::connect() {
            Some(mut journal) => journal.send(&event),
            None => Terminal.send(&event),
        };
        let _ = done.send(sent);
    });
    taken
        .recv_timeout(JOURNAL_TIMEOUT)
        .with_context(|| format!("it accepted nothing within {JOURNAL_TIMEOUT:?}"))?
}

/// The secret for a guard that requires one: from a file, else from a prompt.
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
        writeln!(people(), "The lease on node {} has ended.", terms.node)?;
        return Ok(Status::Good);
    };
    files::open(exe).with_context(|| format!("{} cannot get a lease", exe.display()))?;
    let secret = secret_for(&guard.record, args.secret_file.as_deref())?;
    let user = format!("user {}", user());
    let terms = guard.lease(node.as_str(), exe, time, &user, secret.as_deref())?;
    writeln!(
        people(),
        "A lease on node {node} is in force for {time:?}. A process that starts to execute {} \
         during the lease may write to the node's memory.\nSHA-256 {}",
        exe.display(),
        terms.sha256
    )?;
    Ok(Status::Good)
}

/// The user that requests the lease: the login user, who may have become root since.
fn user() -> String {
    /// `AUDIT_UID_UNSET`: no user logged in, as for a service.
    const NOBODY: &str = "4294967295";
    let login = fs::read_to_string("/proc/self/loginuid").unwrap_or_default();
    match login.trim() {
        "" | NOBODY => "root, without a login".to_owned(),
        user => printable(user.as_bytes(), 16),
    }
}

/// Asks for a secret and prints the line of the configuration that requires it.
fn secret() -> anyhow::Result<Status> {
    let secret = if io::stdin().is_terminal() {
        let first = rpassword::prompt_password("Secret: ")?;
        let again = rpassword::prompt_password("Again: ")?;
        if first != again {
            bail!("the two secrets differ");
        }
        first.into_bytes()
    } else {
        secret_of(Path::new("-"))?
    };
    if secret.is_empty() {
        bail!("the secret is empty");
    }
    let hash =
        hash(&secret).map_err(|error| anyhow::anyhow!("the secret cannot be hashed: {error}"))?;
    writeln!(io::stdout(), "disarm = \"{hash}\"")?;
    writeln!(
        io::stderr(),
        "Put this line under [guard] in the configuration, before the guard is armed."
    )?;
    Ok(Status::Good)
}
