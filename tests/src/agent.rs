//! The host's protocol with node 0: frames through a virtio serial port. `node-agent`, a service of
//! node 0's systemd, answers them.
//!
//! A frame is a little-endian `u32`, the length of the rest, and a [`Tagged`] message in postcard.
//! The tag says to which request an event belongs, so that several requests can be active at once.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::truth::Truth;

/// The name of the virtio serial port.
pub const PORT: &str = "watchdog.agent";

/// The tag of [`Event::Hello`], the only event without a request.
pub const UNASKED: u64 = 0;

/// Maximum length of a frame. It protects both sides from a corrupted stream.
const LONGEST_FRAME: usize = 256 << 20;

/// A message and the request it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tagged<T> {
    /// Chosen by the host, unique within a run.
    pub tag: u64,
    /// The message itself.
    pub message: T,
}

/// From the host to node 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Start a program. Events: any number of [`Event::Output`], then
    /// [`Event::Exited`], or [`Event::Failed`].
    Start {
        /// The program (searched for in `PATH` and `/host`) and its arguments.
        argv: Vec<String>,
        /// What the program reads from its standard input.
        input: Vec<u8>,
    },
    /// Send a signal to the process group of the program started with this tag.
    /// No event.
    Signal {
        /// The signal's number.
        signal: i32,
    },
    /// Create or replace a file. Event: [`Event::Done`].
    Write {
        /// The file's path.
        path: String,
        /// Permissions.
        mode: u32,
        /// The whole content.
        content: Vec<u8>,
    },
    /// Read a file. Event: [`Event::Content`].
    Read {
        /// The file's path.
        path: String,
    },
    /// Report what node 0's kernel knows about its text. Event: [`Event::Truth`].
    Truth,
}

/// From node 0 to the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The agent runs: node 0 has booted.
    Hello,
    /// A started program wrote something.
    Output {
        /// The stream that the program wrote to.
        stream: Stream,
        /// The bytes that it wrote.
        bytes: Vec<u8>,
    },
    /// A started program ended.
    Exited {
        /// Its exit status, or 128 plus the number of the signal that ended it, as in a shell.
        status: i32,
    },
    /// A file's content.
    Content(Vec<u8>),
    /// The command was carried out.
    Done,
    /// Answer to [`Command::Truth`].
    Truth(Truth),
    /// The command failed, with the reason.
    Failed(String),
}

/// A stream to which a program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Writes one frame.
pub fn send<T: Serialize>(to: &mut impl Write, message: &Tagged<T>) -> io::Result<()> {
    let body = postcard::to_stdvec(message).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let mut frame = length.to_le_bytes().to_vec();
    frame.extend(body);
    to.write_all(&frame)?;
    to.flush()
}

/// Reads one frame. Blocks until a frame arrives.
pub fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Tagged<T>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > LONGEST_FRAME {
        return Err(io::Error::other(format!("a frame of {length} bytes: the stream is torn")));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    postcard::from_bytes(&body).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that frames are received as they were sent, one after another.
    #[test]
    fn frames_round_trip() {
        let sent = [
            Tagged { tag: 7, message: Event::Output { stream: Stream::Err, bytes: vec![0, 255] } },
            Tagged { tag: UNASKED, message: Event::Hello },
        ];
        let mut wire = Vec::new();
        for message in &sent {
            send(&mut wire, message).expect("a vector takes everything");
        }
        let mut wire = wire.as_slice();
        for message in &sent {
            assert_eq!(&receive::<Event>(&mut wire).expect("a frame"), message);
        }
        assert!(receive::<Event>(&mut wire).is_err());
    }

    /// Check that a corrupted length does not make the reader allocate that much memory.
    #[test]
    fn absurd_length_is_refused() {
        let mut wire: &[u8] = &[0xff; 8];
        assert!(receive::<Event>(&mut wire).is_err());
    }
}
