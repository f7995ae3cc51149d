//! Requests a lease, as `watchdog guard lease` does, from another process than the watchdog's.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use watchdog_common::{Lease, phase, role};

use super::error::InForceError;
use super::in_force::InForce;
use super::lease::{
    self as record, LEASE_ANSWER_TIMEOUT, LeaseError, LeaseState, LeaseTable, LeaseTerms,
};
use watchdog_core::digest::Digest;
use watchdog_core::files;

/// How often the table is read while the watchdog has not answered.
const ANSWER_INTERVAL: Duration = Duration::from_millis(20);

impl InForce {
    /// Requests a lease from the watchdog, and waits until the lease is in force.
    ///
    /// # Errors
    /// [`LeaseError`]; then there is no lease.
    pub fn lease(
        &self,
        node: &str,
        exe: &Path,
        time: Duration,
        user: &str,
        secret: Option<&[u8]>,
    ) -> Result<LeaseTerms, LeaseError> {
        if !self.record.is_watched() {
            return Err(LeaseError::Unwatched);
        }
        self.record.release.check(secret)?;
        let mut table = LeaseTable::of(&self.generation)?;
        match table.state()? {
            LeaseState::Idle => {}
            LeaseState::Asked(terms) | LeaseState::InForce(terms, _) | LeaseState::Over(terms) => {
                return Err(LeaseError::Taken(terms.node));
            }
        }
        let mut terms = LeaseTerms {
            node: node.to_owned(),
            exe: exe.display().to_string(),
            sha256: String::new(),
            milliseconds: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            user: user.to_owned(),
            refusal: None,
        };
        let asked = table.ask(exe, &mut terms).and_then(|()| self.wait_for(&table, &terms));
        if asked.is_err() {
            table.end()?;
        }
        asked.map(|()| terms)
    }

    /// Ends the lease before its time is over.
    ///
    /// # Errors
    /// When there is no lease, or the table cannot be used.
    pub fn end_lease(&self) -> Result<LeaseTerms, LeaseError> {
        let mut table = LeaseTable::of(&self.generation)?;
        let LeaseState::InForce(terms, _) = table.state()? else { return Err(LeaseError::None) };
        let mut lease = table.lease.get(&0, 0)?;
        lease.phase = phase::ENDED;
        table.lease.set(0, lease, 0)?;
        self.wake();
        Ok(terms)
    }

    /// Waits for the watchdog's answer.
    fn wait_for(&self, table: &LeaseTable, terms: &LeaseTerms) -> Result<(), LeaseError> {
        self.wake();
        let begun = Instant::now();
        while begun.elapsed() < LEASE_ANSWER_TIMEOUT {
            let lease = table.lease.get(&0, 0)?;
            match lease.phase {
                phase::IN_FORCE | phase::ENDED => return Ok(()),
                phase::REFUSED => {
                    let refusal = record::terms(&lease).and_then(|terms| terms.refusal);
                    return Err(LeaseError::No(refusal.unwrap_or_default()));
                }
                _ => thread::sleep(ANSWER_INTERVAL),
            }
        }
        log::debug!("no answer to {terms:?}");
        Err(LeaseError::NoAnswer(self.record.pid))
    }

    /// Makes the watchdog read the lease now, not only in its next period.
    fn wake(&self) {
        let watchdog = i32::try_from(self.record.pid).ok().and_then(Pid::from_raw);
        if let Some(watchdog) = watchdog
            && let Err(error) = kill_process(watchdog, Signal::USR1)
        {
            log::warn!(
                "the signal about the lease did not reach the watchdog: {error}. The watchdog \
                 looks for leases every period"
            );
        }
    }
}

impl LeaseTable {
    /// Requests a lease. Makes the guard register the executable and deny writes to it.
    fn ask(&mut self, exe: &Path, terms: &mut LeaseTerms) -> Result<(), LeaseError> {
        let name = exe.display().to_string();
        let failed = |error| LeaseError::Executable(exe.display().to_string(), error);
        let number = self.lease.get(&0, 0)?.number.saturating_add(1).max(role::FIRST_LEASE);
        let registrar = process::id();
        let phase = phase::REGISTERING;
        self.lease.set(0, Lease { number, registrar, phase, ..Lease::NONE }, 0)?;
        let mut file = files::open(exe).map_err(failed)?;
        let mut lease = self.lease.get(&0, 0)?;
        if lease.exe.is_none() {
            return Err(LeaseError::NotRegistered(name));
        }
        // From here on no process can open the file for writing. This check finds processes that
        // already have it open.
        if !has_no_writer(&file).map_err(failed)? {
            return Err(LeaseError::Written(name));
        }
        terms.sha256 = Digest::of_reader(&mut file).map_err(failed)?.to_string();
        lease.phase = phase::REQUESTED;
        record::write(&mut lease, terms)?;
        Ok(self.lease.set(0, lease, 0)?)
    }
}

impl From<InForceError> for LeaseError {
    fn from(error: InForceError) -> Self {
        Self::No(watchdog_core::text::chain(&error))
    }
}

/// Whether no process has a file open for writing. Only then the kernel grants a file lease for
/// reading (`check_conflicting_open()`, fs/locks.c). This function returns that lease at once.
fn has_no_writer(file: &File) -> io::Result<bool> {
    let set = |kind: libc::c_int| {
        // SAFETY: the command takes a number, and the descriptor is open.
        match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    match set(libc::F_RDLCK) {
        Ok(()) => set(libc::F_UNLCK).map(|()| true),
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(false),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Err(io::Error::other(
            "its file system does not support file leases (fcntl), so the guard cannot verify that \
             no process has the file open for writing: copy the file to a local disk",
        )),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Check that an open descriptor for writing is detected, even if the file can no longer be
    /// opened for writing. Check that it is not detected once it is closed.
    #[test]
    fn writers_are_seen() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let (writer, path) = file.into_parts();
        let reader = File::open(&path).expect("open");
        let permissions = std::fs::Permissions::from_mode(0o400);
        std::fs::set_permissions(&path, permissions).expect("set");
        assert!(!has_no_writer(&reader).expect("leases"));
        drop(writer);
        assert!(has_no_writer(&reader).expect("leases"));
    }
}
