//! Checks of a running machine, and error reports with its consoles. Every wait reports why it
//! failed, and ends when the machine ends.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use tempfile::TempDir;

use super::{console, qemu::Watch, run_directory};

const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Watches QEMU and the consoles of all nodes.
pub struct Health {
    directory: TempDir,
    qemu: Watch,
    nodes: u8,
    failed: AtomicBool,
}

impl Health {
    pub(crate) fn new(directory: TempDir, qemu: Watch, service_nodes: u8) -> Self {
        Self { directory, qemu, nodes: service_nodes + 1, failed: AtomicBool::new(false) }
    }

    /// Returns the log file of node `node`'s console.
    #[must_use]
    pub fn console(&self, node: u8) -> PathBuf {
        console::log(self.directory.path(), node)
    }

    /// Returns an error if QEMU has ended or a node's kernel has died.
    pub fn check(&self) -> Result<()> {
        if let Some(end) = self.qemu.end() {
            let said = console::tail(&self.directory.path().join("qemu.log"));
            return self.fail(&format!("QEMU ended ({end}). It said:\n{said}"));
        }
        for node in 0..self.nodes {
            if let Some(line) = console::sign_of_death(&self.console(node)) {
                return self.fail(&format!("node {node} died: {line}"));
            }
        }
        Ok(())
    }

    /// Calls `look` until it returns a value. Fails immediately if QEMU has ended or a kernel has
    /// died, and after `limit` in any case. The error shows the last lines of the consoles.
    pub(crate) fn wait<T>(
        &self,
        what: &str,
        limit: Duration,
        pause: Duration,
        mut look: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let begun = Instant::now();
        let mut checked = begun;
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            if checked.elapsed() >= POLL_INTERVAL {
                self.check()?;
                checked = Instant::now();
            }
            if begun.elapsed() >= limit {
                return self.fail(&format!("{what}: nothing within {} s", limit.as_secs()));
            }
            thread::sleep(pause);
        }
    }

    /// Returns an error with the last lines of every console, and keeps the logs.
    pub(super) fn fail<T>(&self, what: &str) -> Result<T> {
        self.failed.store(true, Ordering::Relaxed);
        let mut report = what.to_owned();
        for node in 0..self.nodes {
            let log = self.console(node);
            report.push_str(&format!(
                "\n--- node {node}'s console ends ({}):\n{}",
                log.display(),
                console::tail(&log)
            ));
        }
        bail!(report)
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        if *self.failed.get_mut() || thread::panicking() {
            eprintln!("the machine's consoles are kept in {}", self.directory.path().display());
            run_directory::keep(&mut self.directory);
        }
    }
}
