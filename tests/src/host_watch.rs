//! `watchdog run` on the host, over the live memory of the machine: without a guard, and at the
//! speed of a real processor.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::cache;
use crate::machine::Machine;
use crate::starved::Waits;

/// Maximum time for anything that the watchdog must do.
const EVENT_TIMEOUT: Duration = Duration::from_secs(180);

/// A running watch. Dropping it ends the watch.
pub struct HostWatch {
    child: Child,
    events: Arc<Mutex<Vec<Value>>>,
    _state: TempDir,
}

impl HostWatch {
    /// Starts a watch with this configuration and these arguments, and waits until it watches.
    ///
    /// # Errors
    /// If the watch ends instead.
    pub fn start(machine: &Machine, configuration: &str, arguments: &[&str]) -> Result<Self> {
        let state = tempfile::tempdir()?;
        let file = state.path().join("watchdog.toml");
        std::fs::write(&file, configuration)?;
        let mut child = Command::new(cache::guest_programs().join("watchdog"))
            .args(["run", "--json", "--memory"])
            .arg(format!("raw:{}", machine.ram().path().display()))
            .arg("--config")
            .arg(&file)
            .arg("--state-dir")
            .arg(state.path())
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .context("the watchdog was not started")?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        let events = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&events);
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(event);
            }
        });
        let watch = Self { child, events, _state: state };
        watch.wait_for(0, "started", |event| event["event"] == "started")?;
        Ok(watch)
    }

    /// Returns how long each of its threads was ready to run and had no processor.
    ///
    /// # Errors
    /// If the watch has ended.
    pub fn starved(&self) -> Result<Waits> {
        Waits::of_process(self.child.id())
    }

    /// Returns the events since a mark, which is the number of earlier events.
    #[must_use]
    pub fn events(&self, mark: usize) -> Vec<Value> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().skip(mark).cloned().collect()
    }

    /// Returns the number of events so far.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.events(0).len()
    }

    /// Waits for an event. Returns it with the time it took.
    ///
    /// # Errors
    /// If no such event arrives. The error then shows the events that did.
    pub fn wait_for(
        &self,
        mark: usize,
        what: &str,
        is_it: impl Fn(&Value) -> bool,
    ) -> Result<(Value, Duration)> {
        let begun = Instant::now();
        loop {
            let events = self.events(mark);
            if let Some(found) = events.iter().find(|event| is_it(event)) {
                return Ok((found.clone(), begun.elapsed()));
            }
            if begun.elapsed() > EVENT_TIMEOUT {
                bail!("no event ({what}) within {EVENT_TIMEOUT:?}, only {events:#?}");
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for an event of a kind whose message contains some words.
    ///
    /// # Errors
    /// As [`Self::wait_for`].
    pub fn wait(&self, mark: usize, kind: &str, words: &str) -> Result<(Value, Duration)> {
        self.wait_for(mark, &format!("{kind}: {words}"), |event| {
            event["event"] == kind && event["message"].as_str().is_some_and(|m| m.contains(words))
        })
    }
}

impl Drop for HostWatch {
    fn drop(&mut self) {
        // Nothing of the watch is kept, so an orderly end is not necessary.
        let _ended_by_itself = self.child.kill();
        let _status = self.child.wait();
    }
}
