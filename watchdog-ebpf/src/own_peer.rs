//! Of path 25: where the watchdog's alerts go. A socket is bound to journald's name by whoever comes first.
//!
//! match-proto: `int bpf_lsm_unix_may_send(struct socket *, struct socket *)` (6.1 to 7.2), which a datagram
//! asks before it is put into the queue of the other socket. Needs `bpf` among the active LSMs.
//!
//! Refuses nothing. What it does not see is not known to the watchdog, which then sends as ever.

use aya_ebpf::macros::{lsm, map};
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::LsmContext;

use crate::judge;
use crate::kernel::{current_task, field, file_key, offset};

/// The number of the socket that each of the watchdog's threads sent to last.
#[map]
static PEERS: LruHashMap<u32, u64> = LruHashMap::with_max_entries(64, 0);

/// Takes note of where the watchdog sends.
#[lsm(hook = "unix_may_send")]
pub(crate) fn unix_may_send(ctx: LsmContext) -> i32 {
    if let Some(verdict) = judge::earlier(ctx.arg(2)) {
        return verdict;
    }
    let task = current_task();
    if field(task, offset!(task_tgid)).unwrap_or(0) != judge::watchdog() {
        return 0;
    }
    let file = field(ctx.arg(1), offset!(socket_file)).unwrap_or(core::ptr::null());
    let (thread, number) = (field(task, offset!(task_pid)).unwrap_or(0), file_key(file).inode);
    if number != 0 {
        let _ = PEERS.insert(thread, number, 0);
    }
    0
}
