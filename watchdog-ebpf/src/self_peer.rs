//! Of path `self`: where the watchdog's alerts go. A socket is bound to journald's name by whoever
//! comes first.
//!
//! match-proto: `int bpf_lsm_unix_may_send(struct socket *, struct socket *)` (6.1 to 7.2), which a
//! datagram asks before it is put into the queue of the other socket. Needs `bpf` among the active
//! LSMs.
//!
//! A filter at the other socket (`SO_ATTACH_FILTER`) is asked before this hook, and what it drops
//! counts as sent (`unix_dgram_sendmsg`, net/unix/af_unix.c). One that is a BPF map's (`sk_psock`)
//! is asked later.
//!
//! Refuses nothing. What it does not see is not known to the watchdog, which then sends as ever.

use aya_ebpf::macros::{lsm, map};
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::LsmContext;
use watchdog_common::peer;

use crate::kernel::{Object, current_task, field, file_key, offset};
use crate::{access, rules};

/// What each of the watchdog's threads sent to last ([`peer`]).
#[map]
static PEERS: LruHashMap<u32, u64> = LruHashMap::with_max_entries(64, 0);

/// Takes note of where the watchdog sends.
#[lsm(hook = "unix_may_send")]
pub(crate) fn unix_may_send(ctx: LsmContext) -> i32 {
    if let Some(verdict) = access::earlier(ctx.arg(2)) {
        return verdict;
    }
    let task = current_task();
    if field(task, offset!(task_tgid)).unwrap_or(0) != rules::watchdog() {
        return 0;
    }
    let file = field(ctx.arg(1), offset!(socket_file)).unwrap_or(core::ptr::null());
    let (thread, number) = (field(task, offset!(task_pid)).unwrap_or(0), file_key(file).inode);
    let flag = if is_filtered(ctx.arg(1)) { peer::FILTERED } else { 0 };
    let _ = PEERS.insert(thread, (number & !peer::FILTERED) | flag, 0);
    0
}

/// Whether what comes to a `struct socket` passes a filter, or a program by a map of sockets.
#[inline(always)]
fn is_filtered(socket: Object) -> bool {
    let Some(sock) = field::<Object>(socket, offset!(socket_sock)) else { return false };
    let is_set = |pointer: Option<Object>| pointer.is_some_and(|it| !it.is_null());
    is_set(field(sock, offset!(sock_filter))) || is_set(field(sock, offset!(sock_user_data)))
}
