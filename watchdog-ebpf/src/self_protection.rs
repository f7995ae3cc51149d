//! The guard's objects, and the processes that may change them.

use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use watchdog_common::{FileKey, State, file_kind, path, role};

use crate::access::{self, Access};
use crate::arguments::FileArgument;
use crate::identity::{self, is_trusted, is_watchdog, kind};
use crate::structures::{File, Task, key_of};
use crate::{lease, report};

/// The process that starts and stops services.
pub(crate) const INIT: u32 = 1;

/// Whether the guard may be taken down, and the record of user space about it.
#[map]
static STATE: Array<State> = Array::with_max_entries(1, 0);

/// Whether only a trusted process may write a file, by the kinds of the file and its folder.
#[inline(always)]
pub(crate) fn is_protected_file(file: FileKey, folder: u32) -> bool {
    folder == file_kind::PROTECTED
        || matches!(kind(file), file_kind::EXECUTABLE | file_kind::PROTECTED)
        || lease::is_executable(file)
}

/// Whether a file is an executable whose processes may not be traced.
#[inline(always)]
pub(crate) fn is_executable(key: FileKey) -> bool {
    kind(key) == file_kind::EXECUTABLE || lease::is_executable(key)
}

/// The file that the current process executes.
#[inline(always)]
fn executable() -> FileKey {
    key_of(Task::current().executable())
}

/// Registers that the current process begins to execute a file.
#[inline(always)]
pub(crate) fn register_execution(file: Option<File>) {
    let key = key_of(file);
    let role = match kind(key) {
        file_kind::EXECUTABLE => Some(role::WATCHDOG),
        _ => lease::role_of(key),
    };
    if let Some(role) = role {
        identity::add_executor(role);
    }
}

/// Whether a trusted process may take the guard down.
#[inline(always)]
pub(crate) fn is_released() -> bool {
    // SAFETY: the map's own memory; one word of it.
    STATE.get_ptr(0).is_some_and(|state| unsafe { (*state).released } != 0)
}

/// Whether the current process is trusted and may now open `/dev/mem` for writing, as the next
/// watchdog does for its self-test.
#[inline(always)]
pub(crate) fn may_open() -> bool {
    // SAFETY: the map's own memory; one word of it.
    let opens = STATE.get_ptr(0).is_some_and(|state| unsafe { (*state).opens } != 0);
    opens && is_trusted()
}

/// Registers a file that the watchdog opens, while the watchdog has registration on.
#[inline(always)]
pub(crate) fn register_file(file: FileArgument) {
    let Some(state) = STATE.get_ptr(0) else { return };
    // SAFETY: the map's own memory; one word of it.
    let kind = unsafe { (*state).registering };
    if kind == file_kind::NONE || !is_watchdog(Task::current()) {
        return;
    }
    let key = file.inode().key();
    // The watchdog opens its executable through `/proc`, and another file system may be mounted
    // there.
    if kind == file_kind::EXECUTABLE && key != executable() {
        return;
    }
    if !key.is_none() {
        identity::add_file(&key, kind);
    }
    if kind == file_kind::EXECUTABLE {
        identity::set_watchdog();
    }
}

/// Whether the current process is process 1, which starts and stops services.
#[inline(always)]
pub(crate) fn is_init() -> bool {
    Task::current().tgid() == Some(INIT)
}

/// Denies an act to all but trusted processes. On a canary, an act by a trusted process is a probe:
/// it is counted and denied.
#[inline(always)]
pub(crate) fn deny_untrusted(detail: u32, is_canary: bool) -> i32 {
    if !is_trusted() {
        return Access::to_guard(detail).deny();
    }
    if !is_canary {
        return 0;
    }
    report::count_probe(path::SELF_PROTECTION);
    -access::EPERM
}
