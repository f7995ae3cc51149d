//! The channel between the host and a service node, which has no device except a UART. It is a page
//! range in the node's own memory that the node's e820 map reserves.
//!
//! The node maps it through its own `/dev/mem`, the host through the file that backs the machine's
//! memory. Neither side uses a driver or an interrupt: both poll sequence numbers.
//!
//! | offset | content |
//! |---|---|
//! | 0x0 | [`MAGIC`], once the node listens |
//! | 0x8 | ticks: a counter the node advances as long as it lives |
//! | 0x10 | request: sequence number, length |
//! | 0x18 | reply: sequence number, length |
//! | 0x1000 | request, postcard |
//! | 0x4000 | reply, postcard |
//!
//! A side writes content and length first, and the sequence number last, with release ordering. A
//! reply has the sequence number of its request.

use std::{ops::Range, sync::atomic::Ordering};

use anyhow::{Context, Result, ensure};
use serde::{Serialize, de::DeserializeOwned};
use vm_memory::{Bytes, MmapRegion, VolatileMemory, VolatileSlice};

use crate::layout::MAILBOX_SIZE;

/// Means that a node listens: "WDMAIL01" in memory.
pub const MAGIC: u64 = u64::from_le_bytes(*b"WDMAIL01");

const MAGIC_AT: usize = 0x0;
const TICKS_AT: usize = 0x8;
const REQUEST: Slot = Slot { sequence_at: 0x10, length_at: 0x14, content: 0x1000..0x4000 };
const REPLY: Slot = Slot { sequence_at: 0x18, length_at: 0x1c, content: 0x4000..0x1_0000 };

/// One direction of the mailbox.
struct Slot {
    sequence_at: usize,
    length_at: usize,
    content: Range<usize>,
}

/// A mapped mailbox, for either side.
pub struct Mailbox {
    memory: MmapRegion,
    offset: usize,
}

impl Mailbox {
    /// Makes a mailbox at `offset` bytes into `memory`.
    pub fn new(memory: MmapRegion, offset: usize) -> Result<Self> {
        let mailbox = Self { memory, offset };
        mailbox.bytes()?;
        Ok(mailbox)
    }

    /// Marks the mailbox as open: the node listens. Requests to an earlier boot are dropped.
    pub fn open(&self) -> Result<()> {
        let bytes = self.bytes()?;
        let sequence: u32 = bytes.load(REQUEST.sequence_at, Ordering::Acquire)?;
        bytes.store(sequence, REPLY.sequence_at, Ordering::Release)?;
        Ok(bytes.store(MAGIC, MAGIC_AT, Ordering::Release)?)
    }

    /// Marks the mailbox as closed, so that a restarted node is not mistaken for the earlier one.
    pub fn close(&self) -> Result<()> {
        Ok(self.bytes()?.store(0u64, MAGIC_AT, Ordering::Release)?)
    }

    /// Does the node listen?
    pub fn is_open(&self) -> Result<bool> {
        Ok(self.bytes()?.load::<u64>(MAGIC_AT, Ordering::Acquire)? == MAGIC)
    }

    /// Advances the counter that shows that the node lives.
    pub fn tick(&self) -> Result<()> {
        let bytes = self.bytes()?;
        let ticks: u64 = bytes.load(TICKS_AT, Ordering::Relaxed)?;
        Ok(bytes.store(ticks.wrapping_add(1), TICKS_AT, Ordering::Release)?)
    }

    /// Returns how often the node has ticked since its start.
    pub fn ticks(&self) -> Result<u64> {
        Ok(self.bytes()?.load(TICKS_AT, Ordering::Acquire)?)
    }

    /// Writes a request and returns its sequence number.
    pub fn send_request<T: Serialize>(&self, request: &T) -> Result<u32> {
        let last: u32 = self.bytes()?.load(REQUEST.sequence_at, Ordering::Acquire)?;
        let sequence = last.wrapping_add(1);
        self.put(&REQUEST, sequence, request)?;
        Ok(sequence)
    }

    /// Returns the reply to request `sequence`, if it has arrived.
    pub fn reply_to<T: DeserializeOwned>(&self, sequence: u32) -> Result<Option<T>> {
        let answered: u32 = self.bytes()?.load(REPLY.sequence_at, Ordering::Acquire)?;
        if answered == sequence { self.take(&REPLY).map(Some) } else { Ok(None) }
    }

    /// Returns the request without a reply, if there is one, with its sequence number.
    pub fn pending_request<T: DeserializeOwned>(&self) -> Result<Option<(u32, T)>> {
        let bytes = self.bytes()?;
        let sequence: u32 = bytes.load(REQUEST.sequence_at, Ordering::Acquire)?;
        if sequence == bytes.load::<u32>(REPLY.sequence_at, Ordering::Acquire)? {
            return Ok(None);
        }
        Ok(Some((sequence, self.take(&REQUEST)?)))
    }

    /// Writes the reply to request `sequence`. If the reply is too long, this fails and writes
    /// nothing.
    pub fn send_reply<T: Serialize>(&self, sequence: u32, reply: &T) -> Result<()> {
        self.put(&REPLY, sequence, reply)
    }

    fn bytes(&self) -> Result<VolatileSlice<'_>> {
        let size = usize::try_from(MAILBOX_SIZE)?;
        Ok(self.memory.get_slice(self.offset, size)?)
    }

    fn put<T: Serialize>(&self, slot: &Slot, sequence: u32, message: &T) -> Result<()> {
        let message = postcard::to_stdvec(message)?;
        ensure!(
            message.len() <= slot.content.len(),
            "a message of {} bytes has no room in the mailbox ({} bytes)",
            message.len(),
            slot.content.len()
        );
        let bytes = self.bytes()?;
        bytes.write_slice(&message, slot.content.start)?;
        bytes.store(u32::try_from(message.len())?, slot.length_at, Ordering::Relaxed)?;
        Ok(bytes.store(sequence, slot.sequence_at, Ordering::Release)?)
    }

    fn take<T: DeserializeOwned>(&self, slot: &Slot) -> Result<T> {
        let bytes = self.bytes()?;
        let length = usize::try_from(bytes.load::<u32>(slot.length_at, Ordering::Relaxed)?)?;
        ensure!(length <= slot.content.len(), "the mailbox claims a message of {length} bytes");
        let mut message = vec![0; length];
        bytes.read_slice(&mut message, slot.content.start)?;
        postcard::from_bytes(&message).context("the mailbox holds no message of this version")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{Reply, Request};

    fn mailbox() -> Mailbox {
        let memory = MmapRegion::new(0x2_0000).expect("anonymous memory");
        Mailbox::new(memory, 0x1_0000).expect("a mailbox in its second half")
    }

    /// Check that the node receives a request once, and that its sender receives the reply.
    #[test]
    fn request_and_reply() {
        let mailbox = mailbox();
        mailbox.open().expect("open");
        assert!(mailbox.is_open().expect("readable"));
        assert_eq!(mailbox.pending_request::<Request>().expect("readable"), None);

        let sent = mailbox.send_request(&Request::Tracing { on: true }).expect("room");
        assert_eq!(mailbox.reply_to::<Reply>(sent).expect("readable"), None);
        let (sequence, request) = mailbox.pending_request().expect("readable").expect("pending");
        assert_eq!((sequence, &request), (sent, &Request::Tracing { on: true }));

        mailbox.send_reply(sequence, &Reply::Done).expect("room");
        assert_eq!(mailbox.reply_to(sent).expect("readable"), Some(Reply::Done));
        assert_eq!(mailbox.pending_request::<Request>().expect("readable"), None);
    }

    /// Check that a restarted node does not answer a request to the earlier node.
    #[test]
    fn stale_request_is_dropped() {
        let mailbox = mailbox();
        mailbox.send_request(&Request::Free).expect("room");
        mailbox.open().expect("open");
        assert_eq!(mailbox.pending_request::<Request>().expect("readable"), None);
    }

    /// Check that a message that is too long is refused, and that a forged length is detected.
    #[test]
    fn lengths_are_bounded() {
        let mailbox = mailbox();
        let long = Request::Write { path: String::new(), content: vec![0; 0x3000] };
        assert!(mailbox.send_request(&long).is_err());
        mailbox.send_request(&Request::Free).expect("room");
        let bytes = mailbox.bytes().expect("mapped");
        bytes.store(0x3001u32, REQUEST.length_at, Ordering::Relaxed).expect("in range");
        assert!(mailbox.pending_request::<Request>().is_err());
    }
}
