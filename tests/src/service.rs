//! What a service node can be asked to do.
//!
//! Requests and replies travel through the node's [mailbox](crate::mailbox);
//! `node-init`, process 1 of every service node, answers them.

use serde::{Deserialize, Serialize};

use crate::truth::Truth;

/// A request of the host to a service node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// What does this kernel say about its own text? Answered by [`Reply::Truth`].
    Truth,
    /// Allocate this many mebibytes, fill every page and keep them. Adds to
    /// what is already held.
    Allocate {
        /// How much to allocate.
        mebibytes: u32,
    },
    /// Give back everything allocated so far.
    Free,
    /// Switch the function tracer and every trace event on or off; both
    /// rewrite tens of thousands of places in kernel text.
    Tracing {
        /// On or off.
        on: bool,
    },
    /// Load a module that was packed into the node's initramfs.
    LoadModule {
        /// Its name, as `modprobe` knows it.
        name: String,
        /// Its parameters, as on `insmod`'s command line.
        parameters: String,
    },
    /// Unload a module.
    UnloadModule {
        /// Its name, as `/proc/modules` shows it.
        name: String,
    },
    /// The content of a file, such as `/proc/iomem`. Answered by [`Reply::Content`].
    Read {
        /// The file's path.
        path: String,
    },
    /// Write to an existing file, such as a sysctl below `/proc/sys`.
    Write {
        /// The file's path.
        path: String,
        /// What to write, in one `write(2)`.
        content: Vec<u8>,
    },
}

/// A service node's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It was done.
    Done,
    /// Answer to [`Request::Truth`].
    Truth(Truth),
    /// Answer to [`Request::Read`].
    Content(Vec<u8>),
    /// It could not be done, and why.
    Failed(String),
}
