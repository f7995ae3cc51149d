//! Of path `self`: where the watchdog's alerts go. The first process that binds a socket to
//! journald's name gets them.
//!
//! match-proto: `int bpf_lsm_unix_may_send(struct socket *, struct socket *)` (6.1 to 7.2), which a
//! datagram asks before it is put into the queue of the other socket. Needs `bpf` among the active
//! LSMs.
//!
//! A filter at the other socket (`SO_ATTACH_FILTER`) is asked before this hook, and what it drops
//! counts as sent (`unix_dgram_sendmsg`, net/unix/af_unix.c). One that is a BPF map's (`sk_psock`)
//! is asked later.
//!
//! Refuses nothing. If it misses a call, the watchdog does not know the reader and sends all the
//! same.

use aya_ebpf::macros::{lsm, map};
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::LsmContext;
use watchdog_common::peer;

use crate::access::earlier;
use crate::identity::is_watchdog;
use crate::pointer::Structure;
use crate::structures::{Socket, Task, key_of};

/// What each of the watchdog's threads sent to last ([`peer`]).
#[map]
static PEERS: LruHashMap<u32, u64> = LruHashMap::with_max_entries(64, 0);

/// Notes where the watchdog sends.
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

/// Whether what comes to a socket passes a filter, or a program by a map of sockets.
#[inline(always)]
fn is_filtered(socket: Socket) -> bool {
    socket.sock().is_some_and(|sock| sock.filter().is_some() || sock.user_data().is_some())
}
