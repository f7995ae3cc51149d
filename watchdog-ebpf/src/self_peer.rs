//! Part of path `self`: records which socket receives the watchdog's alerts. The first process that
//! binds a socket to journald's name gets them.
//!
//! match-proto: `int bpf_lsm_unix_may_send(struct socket *, struct socket *)` (6.1 to 7.2). The
//! kernel calls it before it puts a datagram into the queue of the other socket. Needs `bpf` among
//! the active LSMs.
//!
//! A filter at the other socket (`SO_ATTACH_FILTER`) runs before this hook, and a datagram that it
//! drops counts as sent (`unix_dgram_sendmsg`, net/unix/af_unix.c). A program of a BPF map of
//! sockets (`sk_psock`) runs later.
//!
//! This program denies nothing. If it misses a call, the watchdog does not know the reader, and
//! still sends.

use aya_ebpf::macros::{lsm, map};
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::LsmContext;
use watchdog_common::peer;

use crate::access::earlier;
use crate::identity::is_watchdog;
use crate::pointer::Structure;
use crate::structures::{Socket, Task, key_of};

/// The last socket to which each of the watchdog's threads sent ([`peer`]).
#[map]
static PEERS: LruHashMap<u32, u64> = LruHashMap::with_max_entries(64, 0);

/// Records the socket to which the watchdog sends.
#[lsm(hook = "unix_may_send")]
pub(crate) fn unix_may_send(ctx: LsmContext) -> i32 {
    if let Some(verdict) = earlier(ctx.arg(2)) {
        return verdict;
    }
    let task = Task::current();
    if !is_watchdog(task) {
        return 0;
    }
    let socket = Socket::at(ctx.arg(1));
    let number = key_of(socket.and_then(Socket::file)).inode;
    let flag = if socket.is_some_and(is_filtered) { peer::FILTERED } else { 0 };
    let thread = task.pid().unwrap_or(0);
    let _ = PEERS.insert(thread, (number & !peer::FILTERED) | flag, 0);
    0
}

/// Whether datagrams to a socket pass a filter, or a program of a map of sockets.
#[inline(always)]
fn is_filtered(socket: Socket) -> bool {
    socket.sock().is_some_and(|sock| sock.filter().is_some() || sock.user_data().is_some())
}
