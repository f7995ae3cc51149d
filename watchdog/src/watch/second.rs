//! The self-test by a second process, once a minute. A foreign program may exempt the watchdog's
//! process id, but not the id of another process.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::mpsc::{self, Receiver};
use tokio::time::{interval, timeout};

use crate::alert::{Event, EventKind};
use watchdog_guard::{Coverage, this_program};

const ARGUMENTS: [&str; 3] = ["guard", "self-test", "--json"];
const PERIOD: Duration = Duration::from_secs(60);
/// How long a test may take, even on a busy machine.
const TEST_TIMEOUT: Duration = Duration::from_secs(120);

/// The coverage of each path that a second process found, or why its test failed.
pub(super) type SecondReport = Result<Coverage, String>;

/// The repeated test by a second process.
#[derive(Debug)]
pub(super) struct Second(Receiver<SecondReport>);

impl Second {
    /// Starts the first test. The tests are repeated until this is dropped.
    pub(super) fn start() -> Self {
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut times = interval(PERIOD);
            loop {
                times.tick().await;
                if sender.send(test().await).await.is_err() {
                    break;
                }
            }
        });
        Self(receiver)
    }

    /// Waits for the report of the next test. Cancel safe.
    pub(super) async fn next(&mut self) -> SecondReport {
        match self.0.recv().await {
            Some(report) => report,
            None => std::future::pending().await,
        }
    }
}

/// Tests every path by a second process.
async fn test() -> SecondReport {
    let mut command = Command::from(this_program());
    command.args(ARGUMENTS).stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = match timeout(TEST_TIMEOUT, command.output()).await {
        Err(_) => return Err(format!("the process did not exit within {TEST_TIMEOUT:?}")),
        Ok(ended) => ended.map_err(|error| error.to_string())?,
    };
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("{}, {}", output.status, said.trim())
    })
}

/// The event for paths that a second process found open, or for a failed test.
pub(super) fn event(report: SecondReport) -> Option<Event> {
    let message = match report {
        Err(why) => format!(
            "A second process could not test the guard: {why}. It is therefore unknown whether the \
             guard denies to other processes what it denies to the watchdog. The watchdog repeats \
             the test every minute"
        ),
        Ok(coverage) => {
            let open = coverage.open();
            if open.is_empty() {
                return None;
            }
            format!(
                "A second process tested the guard, and found these paths open: {}. Root on node 0 \
                 may be able to write to the other nodes' memory. Restart the watchdog, which \
                 reports BPF programs that can override the guard",
                open.join("; ")
            )
        }
    };
    Some(Event::new(EventKind::GuardTampered, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use watchdog_guard::{CoverageRow, Covered};

    /// Check that a path that is open to the second process is reported, and that a path without a
    /// program is not. Check that a process without a result is reported as well.
    #[test]
    fn findings() {
        let tested = |coverage| {
            let path = "write".into();
            Coverage::of([CoverageRow { row: 1, path, coverage, seen: true, reason: None }])
        };
        assert!(event(Ok(tested(Covered::Denied))).is_none());
        let reported = event(Ok(tested(Covered::Uncovered))).unwrap();
        assert!(reported.message.contains("write: unknown"), "{}", reported.message);
        assert!(event(Err("it was killed".to_owned())).is_some());
    }
}
