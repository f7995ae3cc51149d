//! Who reads what the watchdog sends to the journal: journald, or somebody who has taken its name.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use aya::maps::{HashMap, MapData};
use rustix::thread::gettid;
use watchdog_common::peer;

use super::processes::Processes;
use watchdog_core::text::printable;

/// For how long a reader is not looked for once more.
const GOOD: Duration = Duration::from_secs(1);
/// Behind any folder: where distributions have it.
const JOURNALD: &[u8] = b"/lib/systemd/systemd-journald";
/// Behind the name of a file that an update has replaced.
const REPLACED: &[u8] = b" (deleted)";
/// An entry that there is, or none (include/uapi/linux/bpf.h).
const BPF_EXIST: u64 = 2;
/// The process that binds journald's socket, and keeps it while journald is started again.
const INIT: u32 = 1;

/// Why journald may not have received what was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Diverted {
    /// Another process reads it. The text names that process for a sentence.
    Read(String),
    /// The process that received it has exited.
    Gone,
    /// A filter may drop it or cut it short.
    Filtered,
}

/// Finds the processes that have a socket.
#[derive(Debug)]
pub struct JournalReader {
    /// What each thread sent to last ([`peer`]).
    peers: HashMap<MapData, u32, u64>,
    processes: Processes,
    /// The socket that was found good, and when.
    good: Option<(u64, Instant)>,
}

impl JournalReader {
    pub(super) fn new(peers: HashMap<MapData, u32, u64>, processes: Processes) -> Self {
        Self { peers, processes, good: None }
    }

    /// Checks that process 1, a process started by it at this moment, or journald has a socket, and
    /// nobody else. Whoever had it until a moment ago may have read what was sent.
    fn check(&self, socket: u64) -> Result<(), Diverted> {
        let init = self.processes.link("1/exe");
        let is_other = |pid: u32| {
            let exe = self.processes.link(&format!("{pid}/exe"));
            let is_journald = exe.as_deref().is_some_and(is_journald);
            pid != INIT && exe != init && !is_journald
        };
        let mut readers = self.processes.all().unwrap_or_default();
        readers.retain(|pid| self.processes.has_socket(*pid, socket));
        match readers.iter().find(|pid| is_other(**pid)) {
            Some(other) => Err(Diverted::Read(self.name(*other))),
            // Process 1 has it as well, if what it has can be seen.
            None if readers.is_empty() && self.processes.has_any(INIT) => Err(Diverted::Gone),
            None => Ok(()),
        }
    }

    /// Whether the program sees what is sent: not where somebody has switched all of them off,
    /// which the self-test reports. Tried by a datagram to oneself.
    fn sees(&self) -> bool {
        let sent = UnixDatagram::pair().and_then(|(one, _other)| one.send(&[0]));
        sent.is_ok() && self.peers.get(&thread(), 0).is_ok_and(|it| it != peer::NONE)
    }

    fn name(&self, pid: u32) -> String {
        let comm = self.processes.read(&format!("{pid}/comm")).unwrap_or_default();
        let exe = self.processes.link(&format!("{pid}/exe")).unwrap_or_default();
        let (comm, exe) = (printable(comm.trim_end().as_bytes(), 16), printable(&exe, 256));
        format!("process {pid} ({comm}, {exe})")
    }
}

impl JournalReader {
    /// Comes before this thread sends anything, so that what it sent earlier is not taken for it.
    pub fn prepare(&mut self) {
        // What is dropped by a filter comes to no program. A thread that none has seen stays
        // unknown.
        let _ = self.peers.insert(thread(), peer::NONE, BPF_EXIST);
    }

    /// Checks who got what this thread has sent since [`Self::prepare`].
    ///
    /// # Errors
    /// [`Diverted`]: journald may not have got it.
    pub fn confirm(&mut self) -> Result<(), Diverted> {
        // Nothing is known of a socket that no program saw.
        let Ok(socket) = self.peers.get(&thread(), 0) else { return Ok(()) };
        if socket == peer::NONE && !self.sees() {
            return Ok(());
        }
        if socket & peer::FILTERED != 0 {
            return Err(Diverted::Filtered);
        }
        if self.good.is_some_and(|(it, when)| it == socket && when.elapsed() < GOOD) {
            return Ok(());
        }
        self.good = None;
        self.check(socket)?;
        self.good = Some((socket, Instant::now()));
        Ok(())
    }
}

fn thread() -> u32 {
    gettid().as_raw_nonzero().get().cast_unsigned()
}

fn is_journald(exe: &[u8]) -> bool {
    exe.strip_suffix(REPLACED).unwrap_or(exe).ends_with(JOURNALD)
}

#[cfg(test)]
mod tests {
    use super::is_journald;

    /// Check that journald is known wherever a distribution has it, also while it is updated.
    #[test]
    fn journald() {
        assert!(is_journald(b"/usr/lib/systemd/systemd-journald"));
        assert!(is_journald(b"/lib/systemd/systemd-journald (deleted)"));
        assert!(!is_journald(b"/tmp/systemd-journald") && !is_journald(b""));
    }
}
