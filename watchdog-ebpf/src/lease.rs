//! The lease: leave for one executable to write one node's memory for some time, as the node's
//! loader does.
//!
//! Who holds it is known as the watchdog is: by the address space that executed the leased
//! executable while the lease was in force, with no tracer and no seccomp filter. Whoever had begun
//! to run it before holds nothing. The kernel's own clock ends it, whether or not a watchdog runs.

use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use watchdog_common::{FileKey, LEASE_RANGES, Lease, Range};

use crate::kernel::{Object, current_task, field, file_key, offset};
use crate::{identity, report};

/// The only lease.
#[map]
static LEASE: Array<Lease> = Array::with_max_entries(1, 0);

/// Writes that were let through by leases, all of them together.
#[map]
static LEASED: Array<u64> = Array::with_max_entries(1, 0);

/// The lease, while it is in force.
#[inline(always)]
fn in_force() -> Option<*mut Lease> {
    let lease = LEASE.get_ptr_mut(0)?;
    // SAFETY: the map's own memory; one word of it.
    let until = unsafe { core::ptr::read_volatile(&raw const (*lease).until) };
    // SAFETY: the helper takes nothing.
    if until == 0 || unsafe { bpf_ktime_get_boot_ns() } >= until { None } else { Some(lease) }
}

/// The lease that the current process holds.
#[inline(always)]
pub(crate) fn current() -> Option<*mut Lease> {
    let lease = in_force()?;
    // SAFETY: the map's own memory; one word of it.
    let number = unsafe { core::ptr::read_volatile(&raw const (*lease).number) };
    identity::has_role(number).then_some(lease)
}

/// Whether the current process may write a range, all of it; then it is counted.
#[inline(always)]
pub(crate) fn allows(aimed: &Range) -> bool {
    // No lease reaches as far as where the sign of a difference would change.
    const LAST: u64 = i64::MAX as u64;
    let is_allowed = outside(current(), aimed.start.min(LAST), aimed.end.min(LAST)) >= 0;
    if is_allowed {
        report::count(LEASED.get_ptr_mut(0));
    }
    is_allowed
}

/// Whether the current process may do what comes before any write: open the device, load a kernel.
#[inline(always)]
pub(crate) fn allows_to_begin() -> bool {
    current().is_some()
}

/// Below zero when any byte is outside what the lease is for, without a branch; for addresses that
/// are not below zero themselves.
#[inline(always)]
pub(crate) fn outside(lease: Option<*mut Lease>, start: u64, end: u64) -> i64 {
    let Some(lease) = lease else { return -1 };
    let mut outside = -1;
    let mut n = 0;
    while n < LEASE_RANGES {
        // SAFETY: `n` is inside the array, which is in the map's own memory.
        let range = unsafe { core::ptr::read_volatile((&raw const (*lease).ranges[0]).add(n)) };
        outside &= (start.wrapping_sub(range.start) | range.end.wrapping_sub(end)).cast_signed();
        n += 1;
    }
    outside
}

/// Whether a file is the leased executable, which nobody may write or trace.
#[inline(always)]
pub(crate) fn is_executable(key: FileKey) -> bool {
    if key.inode == 0 || !identity::may_be_known(&key) {
        return false;
    }
    let Some(lease) = LEASE.get_ptr(0) else { return false };
    // SAFETY: the map's own memory, plain integers; all zero where there is no lease.
    key == unsafe { core::ptr::read_volatile(&raw const (*lease).exe) }
}

/// The role of a process that executes a file from now on, if it is the leased one.
#[inline(always)]
pub(crate) fn role_of(key: FileKey) -> Option<u32> {
    let lease = in_force()?;
    if !is_executable(key) {
        return None;
    }
    // SAFETY: the map's own memory; one word of it.
    Some(unsafe { core::ptr::read_volatile(&raw const (*lease).number) })
}

/// Registers the executable when the watchdog's command opens it that is named in the lease.
#[inline(always)]
pub(crate) fn register_executable(file: Object) {
    let Some(lease) = LEASE.get_ptr_mut(0) else { return };
    // SAFETY: the map's own memory; one word of it.
    let registrar = unsafe { core::ptr::read_volatile(&raw const (*lease).registrar) };
    if registrar == 0 || field(current_task(), offset!(task_tgid)) != Some(registrar) {
        return;
    }
    let key = file_key(file);
    if key.inode != 0 && identity::is_trusted() {
        identity::mark(&key);
        // SAFETY: the map's own memory, plain integers.
        unsafe { core::ptr::write_volatile(&raw mut (*lease).exe, key) };
    }
}
