//! The lease: leave for one executable to write one node's memory for some time, as the node's
//! loader does.
//!
//! A process holds it as another is the watchdog: by its address space, which executed the leased
//! executable while the lease was in force, with no tracer and no seccomp filter. A process that
//! executed it before holds nothing. The kernel's own clock ends the lease, whether or not a
//! watchdog runs.

use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use watchdog_common::{FileKey, LEASE_RANGES, Lease, Range, phase};

use crate::arguments::FileArgument;
use crate::structures::Task;
use crate::{identity, memory, report};

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
    if phase_of(lease) != phase::IN_FORCE {
        return None;
    }
    // SAFETY: the map's own memory; one word of it.
    let until = unsafe { core::ptr::read_volatile(&raw const (*lease).until) };
    // SAFETY: the helper takes nothing.
    if unsafe { bpf_ktime_get_boot_ns() } >= until { None } else { Some(lease) }
}

/// How far a lease is: one of `watchdog_common::phase`.
#[inline(always)]
fn phase_of(lease: *mut Lease) -> u32 {
    // SAFETY: the map's own memory; one word of it.
    unsafe { core::ptr::read_volatile(&raw const (*lease).phase) }
}

/// The lease that the current process holds.
#[inline(always)]
pub(crate) fn current() -> Option<*mut Lease> {
    let lease = in_force()?;
    // SAFETY: the map's own memory; one word of it.
    let number = unsafe { core::ptr::read_volatile(&raw const (*lease).number) };
    identity::has_role(number).then_some(lease)
}

/// Whether the current process may write all of a range by its lease. If so, it is counted.
#[inline(always)]
pub(crate) fn allows(aimed: &Range) -> bool {
    let (start, end) = memory::clamped(aimed);
    let is_allowed = outside_sign(current(), start, end) >= 0;
    if is_allowed {
        report::count(LEASED.get_ptr_mut(0));
    }
    is_allowed
}

/// Whether the current process may prepare a write: open the device, load a kernel.
#[inline(always)]
pub(crate) fn allows_to_begin() -> bool {
    current().is_some()
}

/// Below zero if any byte is outside the memory of a lease, or there is no lease; for addresses
/// that are not below zero themselves. It has no branch on a range, as [`memory`].
#[inline(always)]
pub(crate) fn outside_sign(lease: Option<*mut Lease>, start: u64, end: u64) -> i64 {
    let Some(lease) = lease else { return -1 };
    let mut outside = -1;
    let mut n = 0;
    while n < LEASE_RANGES {
        // SAFETY: `n` is inside the array, which is in the map's own memory.
        let range = unsafe { core::ptr::read_volatile((&raw const (*lease).ranges[0]).add(n)) };
        outside &= memory::outside_sign(start, end, &range);
        n += 1;
    }
    outside
}

/// Whether a file is the leased executable, which no process may write or trace.
#[inline(always)]
pub(crate) fn is_executable(key: FileKey) -> bool {
    if key.is_none() || !identity::may_be_known(&key) {
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

/// Registers the executable when the watchdog's command opens it to ask for a lease.
#[inline(always)]
pub(crate) fn register_executable(file: FileArgument) {
    let Some(lease) = LEASE.get_ptr_mut(0) else { return };
    if phase_of(lease) != phase::REGISTERING {
        return;
    }
    // SAFETY: the map's own memory; one word of it.
    let registrar = unsafe { core::ptr::read_volatile(&raw const (*lease).registrar) };
    if Task::current().tgid() != Some(registrar) {
        return;
    }
    let key = file.inode().key();
    if !key.is_none() && identity::is_trusted() {
        identity::mark(&key);
        // SAFETY: the map's own memory, plain integers.
        unsafe { core::ptr::write_volatile(&raw mut (*lease).exe, key) };
    }
}
