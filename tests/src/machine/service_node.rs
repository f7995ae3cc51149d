//! A service node from the host's view: through its mailbox.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Result, bail};

use super::{health::Health, ram::Ram};
use crate::{
    mailbox::Mailbox,
    service::{Reply, Request},
    truth::Truth,
};

/// Maximum time for a request. Switching the function tracer on rewrites tens of thousands of
/// places, under emulation.
const ANSWER: Duration = Duration::from_secs(180);

const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A service node.
pub struct ServiceNode {
    number: u8,
    /// Serves one request at a time.
    mailbox: Mutex<Mailbox>,
    health: Arc<Health>,
}

impl ServiceNode {
    pub(crate) fn new(
        number: u8,
        range: Range<u64>,
        ram: &Ram,
        health: Arc<Health>,
    ) -> Result<Self> {
        let mailbox = Mailbox::new(ram.map(range.start, range.end - range.start)?, 0)?;
        Ok(Self { number, mailbox: Mutex::new(mailbox), health })
    }

    /// Returns the node's number, from 1; 0 for a [lone](crate::lone) kernel.
    #[must_use]
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Sends the node a request and waits for the reply. Returns an error if the node could not
    /// fulfil the request.
    pub fn request(&self, request: &Request) -> Result<Reply> {
        let mailbox = self.mailbox();
        let sequence = mailbox.send_request(request)?;
        let what = format!("node {} does not answer {request:?}", self.number);
        let reply =
            self.health.wait(&what, ANSWER, POLL_INTERVAL, || mailbox.reply_to(sequence))?;
        match reply {
            Reply::Failed(why) => bail!("node {} failed at {request:?}: {why}", self.number),
            reply => Ok(reply),
        }
    }

    /// Returns what the node's kernel reports about its text.
    pub fn truth(&self) -> Result<Truth> {
        match self.request(&Request::Truth)? {
            Reply::Truth(truth) => Ok(truth),
            other => bail!("node {} answered {other:?}", self.number),
        }
    }

    /// Returns the content of a file on the node, such as `/proc/iomem`, up to 44 KiB.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        match self.request(&Request::Read { path: path.to_owned() })? {
            Reply::Content(content) => Ok(content),
            other => bail!("node {} answered {other:?}", self.number),
        }
    }

    /// Writes to a file on the node, such as a sysctl below `/proc/sys`.
    pub fn write(&self, path: &str, content: &str) -> Result<()> {
        let content = content.as_bytes().to_vec();
        self.request(&Request::Write { path: path.to_owned(), content }).map(drop)
    }

    /// Returns the names in a directory on the node.
    pub fn list(&self, path: &str) -> Result<Vec<String>> {
        self.names(&Request::List { path: path.to_owned() })
    }

    /// Returns the functions that contain these virtual addresses, each as `name+0x12`.
    pub fn names_of(&self, addresses: &[u64]) -> Result<Vec<String>> {
        self.names(&Request::Names { addresses: addresses.to_vec() })
    }

    fn names(&self, request: &Request) -> Result<Vec<String>> {
        match self.request(request)? {
            Reply::Names(names) => Ok(names),
            other => bail!("node {} answered {other:?}", self.number),
        }
    }

    /// Switches the function tracer and trace events on or off.
    pub fn tracing(&self, on: bool) -> Result<()> {
        self.request(&Request::Tracing { on }).map(drop)
    }

    /// Returns how often the node has ticked since its start. The number grows as long as the node
    /// lives.
    pub fn ticks(&self) -> Result<u64> {
        self.mailbox().ticks()
    }

    /// Waits until the node has ticked ten more times, which proves that it lives.
    pub fn wait_for_ticks(&self) -> Result<()> {
        let mailbox = self.mailbox();
        let first = mailbox.ticks()?;
        let what = format!("node {} does not tick", self.number);
        self.health.wait(&what, ANSWER, POLL_INTERVAL, || {
            Ok((mailbox.ticks()? >= first + 10).then_some(()))
        })
    }

    pub(crate) fn forget(&self) -> Result<()> {
        self.mailbox().close()
    }

    pub(crate) fn wait_until_it_listens(&self, limit: Duration) -> Result<()> {
        let mailbox = self.mailbox();
        let what = format!("node {} was started and does not answer", self.number);
        self.health.wait(&what, limit, POLL_INTERVAL, || Ok(mailbox.is_open()?.then_some(())))
    }

    fn mailbox(&self) -> std::sync::MutexGuard<'_, Mailbox> {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
