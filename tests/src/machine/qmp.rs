//! QEMU's control connection (QMP): JSON, one message per line.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::health::Health;

/// QEMU answers between two instructions of the guest. A minute is enough for a busy host.
const ANSWER: Duration = Duration::from_secs(60);

/// The connection.
pub(crate) struct Qmp {
    stream: Mutex<BufReader<UnixStream>>,
    health: Arc<Health>,
}

impl Qmp {
    /// Reads QEMU's greeting and requests command mode.
    pub(crate) fn connect(stream: UnixStream, health: Arc<Health>) -> Result<Self> {
        stream.set_read_timeout(Some(ANSWER))?;
        let qmp = Self { stream: Mutex::new(BufReader::new(stream)), health };
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Executes a command with these arguments (an object), and returns its result.
    pub(crate) fn execute(&self, command: &str, arguments: Value) -> Result<Value> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let request = format!("{}\n", json!({ "execute": command, "arguments": arguments }));
        if let Err(error) = stream.get_mut().write_all(request.as_bytes()) {
            return self.health.fail(&format!("QEMU takes no command `{command}`: {error}"));
        }
        let mut line = String::new();
        loop {
            line.clear();
            match stream.read_line(&mut line) {
                Ok(1..) => {}
                Ok(0) => return self.health.fail("QEMU closed its control connection"),
                Err(error) => {
                    return self.health.fail(&format!("no answer to `{command}`: {error}"));
                }
            }
            // The greeting and events may arrive before the answer.
            let message: Value = serde_json::from_str(&line)?;
            if let Some(answer) = message.get("return") {
                return Ok(answer.clone());
            }
            if let Some(error) = message.get("error") {
                bail!("QEMU refuses `{command}`: {error}");
            }
        }
    }
}
