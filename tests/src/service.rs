//! Requests to a service node, and its replies.
//!
//! Both travel through the node's [mailbox](crate::mailbox). `node-init`, process 1 of every
//! service node, answers the requests.

use serde::{Deserialize, Serialize};

use crate::truth::Truth;

/// A request of the host to a service node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Report what this kernel knows about its own text. Answered by [`Reply::Truth`].
    Truth,
    /// Allocate this many mebibytes in addition to earlier ones, fill every page and keep them.
    Allocate {
        /// How much to allocate.
        mebibytes: u32,
    },
    /// Free everything allocated so far.
    Free,
    /// Switch the function tracer and every trace event on or off. Both rewrite tens of thousands
    /// of places in kernel text.
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
    /// Read a file, such as `/proc/iomem`. Answered by [`Reply::Content`].
    Read {
        /// The file's path.
        path: String,
    },
    /// Write to an existing file, such as a sysctl below `/proc/sys`.
    Write {
        /// The file's path.
        path: String,
        /// The content, which is written by one `write(2)`.
        content: Vec<u8>,
    },
    /// List the names in a directory. Answered by [`Reply::Names`].
    List {
        /// The directory's path.
        path: String,
    },
    /// Make a directory, such as a tracefs instance, unless it exists.
    MakeDirectory {
        /// The directory's path.
        path: String,
    },
    /// Find the functions that contain these addresses. Answered by [`Reply::Names`].
    Names {
        /// Virtual addresses.
        addresses: Vec<u64>,
    },
    /// Attach a BPF program that does nothing.
    Attach {
        /// The hook.
        hook: Hook,
    },
    /// Detach the BPF program from this hook.
    Detach {
        /// The hook.
        hook: Hook,
    },
}

/// A place to which a BPF program is attached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Hook {
    /// A function's entry, by a BPF trampoline.
    Fentry {
        /// The function.
        function: String,
    },
    /// A function's return, by a BPF trampoline.
    Fexit {
        /// The function.
        function: String,
    },
    /// A hook of the BPF security module, by a BPF trampoline.
    Lsm {
        /// The hook's name, such as `file_open`.
        hook: String,
    },
    /// A tracepoint.
    Tracepoint {
        /// Its name, such as `sched_switch`.
        name: String,
    },
    /// A function's entry, by a kprobe behind a perf event.
    Kprobe {
        /// The function.
        function: String,
    },
    /// The entries of several functions, by one link.
    KprobeMulti {
        /// The functions.
        functions: Vec<String>,
    },
    /// Nothing: programs that are loaded, and not attached.
    Unattached {
        /// How many.
        count: u32,
    },
    /// The packets that a network interface receives.
    Xdp {
        /// The interface's number. The loopback interface has 1.
        interface: u32,
    },
    /// The main function of the [XDP program](Self::Xdp) of an interface (freplace).
    Extension {
        /// The interface's number.
        interface: u32,
    },
    /// The packets that a network interface receives, by the queueing discipline `clsact`. Needs
    /// the modules `sch_ingress` and `cls_bpf`.
    Clsact {
        /// The interface's name.
        interface: String,
    },
    /// The same packets, by a link. Linux has it since 6.6.
    Tcx {
        /// The interface's name.
        interface: String,
    },
    /// A TCP congestion control made of programs (struct_ops).
    TcpCongestion {
        /// Its name.
        name: String,
    },
}

/// A service node's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The request was carried out.
    Done,
    /// Answer to [`Request::Truth`].
    Truth(Truth),
    /// Answer to [`Request::Read`].
    Content(Vec<u8>),
    /// Answer to [`Request::List`]. As an answer to [`Request::Names`], `name+0x12` for each
    /// address.
    Names(Vec<String>),
    /// The request failed, with the reason.
    Failed(String),
}
