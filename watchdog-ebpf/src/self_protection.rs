//! What belongs to the guard, and who may touch it.

use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use watchdog_common::{FileKey, State, file_kind, role};

use crate::identity::{self, is_trusted, kind};
use crate::kernel::{Object, current_task, field, file_key, offset};
use crate::{access, lease, report, rules};

/// Whether the guard may be taken down, and what user space keeps about it.
#[map]
static STATE: Array<State> = Array::with_max_entries(1, 0);

/// Whether only who is trusted may write a file, by what it and its folder are.
#[inline(always)]
pub(crate) fn is_protected_file(file: FileKey, folder: u32) -> bool {
    folder == file_kind::PROTECTED
        || matches!(kind(file), file_kind::EXECUTABLE | file_kind::PROTECTED)
        || lease::is_executable(file)
}

/// Whether a file is one whose processes nobody may trace.
#[inline(always)]
pub(crate) fn is_executable(key: FileKey) -> bool {
    kind(key) == file_kind::EXECUTABLE || lease::is_executable(key)
}

/// The file that the current process executes.
#[inline(always)]
fn executable() -> FileKey {
    let mm = field::<Object>(current_task(), offset!(task_mm)).unwrap_or(core::ptr::null());
    file_key(field(mm, offset!(mm_exe_file)).unwrap_or(core::ptr::null()))
}

/// Registers that the current process executes a file from now on.
#[inline(always)]
pub(crate) fn register_execution(file: Object) {
    let key = file_key(file);
    let role = match kind(key) {
        file_kind::EXECUTABLE => Some(role::WATCHDOG),
        _ => lease::role_of(key),
    };
    if let Some(role) = role {
        identity::add_executor(role);
    }
}

/// Whether the guard may be taken down by who is trusted.
#[inline(always)]
pub(crate) fn is_released() -> bool {
    // SAFETY: the map's own memory; one word of it.
    STATE.get_ptr(0).is_some_and(|state| unsafe { (*state).released } != 0)
}

/// Whether the current process is trusted, and it is the time for the next watchdog to open
/// `/dev/mem` for writing.
#[inline(always)]
pub(crate) fn may_open() -> bool {
    // SAFETY: the map's own memory; one word of it.
    let opens = STATE.get_ptr(0).is_some_and(|state| unsafe { (*state).opens } != 0);
    opens && is_trusted()
}

/// Registers a file that the watchdog opens, when it says that those are the guard's.
#[inline(always)]
pub(crate) fn register_file(file: Object) {
    let Some(state) = STATE.get_ptr(0) else { return };
    // SAFETY: the map's own memory; one word of it.
    let kind = unsafe { (*state).registering };
    if kind == 0 || field(current_task(), offset!(task_tgid)) != Some(rules::watchdog()) {
        return;
    }
    let key = file_key(file);
    // Whatever is mounted over `/proc`, by which it is opened: it is the one that runs.
    if kind == file_kind::EXECUTABLE && key != executable() {
        return;
    }
    if key.inode != 0 {
        identity::add_file(&key, kind);
    }
    if kind == file_kind::EXECUTABLE {
        identity::set_watchdog();
    }
}

/// Whether the current process is process 1, which starts and stops services.
#[inline(always)]
pub(crate) fn is_init() -> bool {
    field(current_task(), offset!(task_tgid)) == Some(1_u32)
}

/// Decides about something that only who is trusted may do. By the watchdog itself at a canary it
/// is a probe.
#[inline(always)]
pub(crate) fn deny_untrusted(detail: u32, is_canary: bool) -> i32 {
    if !is_trusted() {
        return access::deny_self_act(detail);
    }
    if !is_canary {
        return 0;
    }
    report::count_probe(watchdog_common::path::SELF_PROTECTION);
    -access::EPERM
}
