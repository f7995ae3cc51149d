//! Finds the process that reads the watchdog's messages to the journal: journald, or a process that
//! took its socket's name.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use aya::maps::{HashMap, MapData};
use rustix::thread::gettid;
use watchdog_common::peer;

use super::processes::Processes;
use watchdog_core::text::printable;

/// How long a socket that was found good is not checked again.
const GOOD: Duration = Duration::from_secs(1);
/// The end of journald's path; the folder before it depends on the distribution.
const JOURNALD: &[u8] = b"/lib/systemd/systemd-journald";
/// The kernel adds this to the path of a file that an update has replaced.
const REPLACED: &[u8] = b" (deleted)";
/// Change an entry only if it exists (include/uapi/linux/bpf.h).
const BPF_EXIST: u64 = 2;
/// The process that binds journald's socket, and keeps it open while journald restarts.
const INIT: u32 = 1;

/// Why journald may not have received what was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Diverted {
    /// Another process reads the socket. The text names that process for a sentence.
    Read(String),
    /// The process that received the message has exited.
    Gone,
    /// A filter may drop the message or truncate it.
    Filtered,
}

/// Finds the processes that have a socket.
#[derive(Debug)]
pub struct JournalReader {
    /// The socket that each thread last sent to ([`peer`]).
    peers: HashMap<MapData, u32, u64>,
    processes: Processes,
    /// The socket that was last found good, and when.
    good: Option<(u64, Instant)>,
}

impl JournalReader {
    pub(super) fn new(peers: HashMap<MapData, u32, u64>, processes: Processes) -> Self {
        Self { peers, processes, good: None }
    }

    /// Checks which processes have a socket open. Only process 1, a process that it just forked,
    /// and journald may. A process that just closed the socket may have read the message.
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
            // Process 1 also keeps the socket open. If no process has it, the socket is gone,
            // provided that the descriptors of process 1 can be read.
            None if readers.is_empty() && self.processes.has_any(INIT) => Err(Diverted::Gone),
            None => Ok(()),
        }
    }

    /// Whether the program sees sent datagrams. It does not if a process switched all programs off;
    /// the self-test reports that. This is tested with a datagram to this process itself.
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
    /// Call this before this thread sends. It clears the thread's entry, so that an earlier
    /// datagram does not count.
    pub fn prepare(&mut self) {
        // A filter may drop the datagram before the program sees it; then the entry stays `NONE`. A
        // thread without an entry stays unknown.
        let _ = self.peers.insert(thread(), peer::NONE, BPF_EXIST);
    }

    /// Checks which process received what this thread sent since [`Self::prepare`].
    ///
    /// # Errors
    /// [`Diverted`]: journald may not have received it.
    pub fn confirm(&mut self) -> Result<(), Diverted> {
        // Without an entry, no program has ever seen this thread send.
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

    /// Check that journald is recognized in any folder, and also while it is updated.
    #[test]
    fn journald() {
        assert!(is_journald(b"/usr/lib/systemd/systemd-journald"));
        assert!(is_journald(b"/lib/systemd/systemd-journald (deleted)"));
        assert!(!is_journald(b"/tmp/systemd-journald") && !is_journald(b""));
    }
}
