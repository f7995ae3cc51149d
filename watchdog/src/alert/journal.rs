//! journald's native protocol: one structured entry for each event.

use std::sync::{Arc, Mutex, PoisonError};

use libsystemd::daemon::booted;
use libsystemd::logging::{Priority, journal_send};

use super::{Diverted, Event, Sink};

/// Where journald listens (systemd-journald.service(8)).
const SOCKET: &str = "/run/systemd/journal/socket";

/// Finds the process that receives the events that a thread sends to the journal.
pub trait ConfirmReader: Send {
    /// Call this before this thread sends anything.
    fn prepare(&mut self);

    /// Checks which process received the events that this thread has sent since [`Self::prepare`].
    ///
    /// # Errors
    /// [`Diverted`]: journald may not have received it.
    fn confirm(&mut self) -> Result<(), Diverted>;
}

/// The check of the reader, once a guard provides it.
pub(super) type Reader = Arc<Mutex<Option<Box<dyn ConfirmReader>>>>;

/// The system's journal.
pub struct Journal(Reader);

impl Journal {
    /// The journal, or `None` on a system without one. If systemd runs, journald may start to
    /// listen later.
    #[must_use]
    pub fn connect() -> Option<Self> {
        (std::path::Path::new(SOCKET).exists() || booted()).then(|| Self(Reader::default()))
    }

    fn with_reader<T>(&self, act: impl FnOnce(&mut dyn ConfirmReader) -> T) -> Option<T> {
        let mut reader = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Some(act(reader.as_deref_mut()?))
    }

    /// The slot for the check of the reader. The outlet fills it.
    pub(super) fn reader(&self) -> Reader {
        Arc::clone(&self.0)
    }
}

impl Sink for Journal {
    fn name(&self) -> &'static str {
        "the journal"
    }

    fn send(&mut self, event: &Event) -> anyhow::Result<()> {
        let priority = match event.priority {
            2 => Priority::Critical,
            3 => Priority::Error,
            4 => Priority::Warning,
            5 => Priority::Notice,
            _ => Priority::Info,
        };
        // journald may delay the send for any time, so the lock is not held during it.
        let is_prepared = self.with_reader(|reader| reader.prepare()).is_some();
        journal_send(priority, &event.message, fields(event).into_iter())?;
        if is_prepared {
            // An event that another process read is sent again when journald is back.
            self.with_reader(|reader| reader.confirm()).transpose()?;
        }
        Ok(())
    }
}

/// The fields of an event besides `MESSAGE` and `PRIORITY`, with their names in the journal.
fn fields(event: &Event) -> Vec<(&'static str, String)> {
    // The pattern names every field, so a new field does not compile until it is handled here.
    let Event {
        time,
        kind,
        priority: _,
        message: _,
        node,
        verdict,
        phys,
        virt,
        length,
        symbol,
        expected,
        found,
        path,
        process,
        action,
        count,
        // The sentence has the coverage.
        coverage: _,
        receipt: _,
        executable: _,
    } = event;
    let mut fields = vec![
        ("SYSLOG_IDENTIFIER", "watchdog".to_owned()),
        ("MESSAGE_ID", kind.message_id().to_owned()),
        ("WATCHDOG_EVENT", kind.name().to_owned()),
        // The journal stores the time of arrival, which is later if journald was stopped.
        ("WATCHDOG_TIME", time.to_string()),
    ];
    let process = process.as_ref();
    let optional = [
        ("WATCHDOG_NODE", node.clone()),
        ("WATCHDOG_VERDICT", verdict.map(|verdict| verdict.to_string())),
        ("WATCHDOG_PHYS", phys.map(|at| at.to_string())),
        ("WATCHDOG_VIRT", virt.map(|at| at.to_string())),
        ("WATCHDOG_LENGTH", length.map(|bytes| bytes.to_string())),
        ("WATCHDOG_SYMBOL", symbol.clone()),
        ("WATCHDOG_EXPECTED", expected.clone()),
        ("WATCHDOG_FOUND", found.clone()),
        ("WATCHDOG_PATH", path.clone()),
        ("WATCHDOG_PID", process.map(|process| process.pid.to_string())),
        ("WATCHDOG_COMM", process.map(|process| process.comm.clone())),
        ("WATCHDOG_EXE", process.and_then(|process| process.exe.clone())),
        ("WATCHDOG_EXE_SHA256", process.and_then(|process| process.exe_sha256.clone())),
        ("WATCHDOG_UID", process.map(|process| process.uid.to_string())),
        ("WATCHDOG_TID", process.and_then(|it| it.tid).map(|tid| tid.to_string())),
        ("WATCHDOG_CGROUP", process.and_then(|process| process.cgroup.clone())),
        ("WATCHDOG_PARENT", process.and_then(|it| it.parent).map(|parent| parent.to_string())),
        ("WATCHDOG_PARENT_COMM", process.and_then(|process| process.parent_comm.clone())),
        ("WATCHDOG_ACTION", action.map(str::to_owned)),
        ("WATCHDOG_COUNT", count.map(|count| count.to_string())),
    ];
    fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    fields
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::alert::{EventKind, Process};
    use crate::doc_table::{codes, rows};

    /// Check that each known detail becomes a field with its documented name, and that there are no
    /// others.
    #[test]
    fn journal_fields() {
        let mut event = Event::new(EventKind::WriteDenied, "m").node("service-2");
        event.process = Some(Process {
            pid: 7,
            comm: "dd".into(),
            exe: Some("/bin/dd".into()),
            ..Process::default()
        });
        event.action = Some("denied");
        let names: Vec<_> = fields(&event).into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            [
                "SYSLOG_IDENTIFIER",
                "MESSAGE_ID",
                "WATCHDOG_EVENT",
                "WATCHDOG_TIME",
                "WATCHDOG_NODE",
                "WATCHDOG_PID",
                "WATCHDOG_COMM",
                "WATCHDOG_EXE",
                "WATCHDOG_UID",
                "WATCHDOG_ACTION"
            ]
        );
    }

    /// Check that docs/events.md lists every field that is sent, and no other.
    #[test]
    fn documented_fields() {
        let rows = rows(include_str!("../../../docs/events.md"), &["field", "content"]);
        // `_VERDICT` behind `WATCHDOG_NODE` is `WATCHDOG_VERDICT`.
        let name = |field: &'static str| match field.strip_prefix("WATCHDOG") {
            Some(name) => name,
            None => field,
        };
        let documented: BTreeSet<_> = rows.iter().flat_map(|row| codes(row[0])).map(name).collect();
        let (code, _) = include_str!("journal.rs").split_once("#[cfg(test)]").unwrap();
        let sent = code.split("(\"WATCHDOG").skip(1).map(|rest| rest.split('"').next().unwrap());
        assert_eq!(documented, sent.collect());
    }
}
