//! The lease: it allows one executable to write one node's memory for some time, as the node's
//! loader does.
//!
//! A process holds the lease if its address space executed the leased executable while the lease
//! was in force. As with the watchdog, it must have no tracer and no seccomp filter. A process that
//! executed it before does not hold the lease. The kernel's clock ends the lease, also if no
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

/// The number of writes that all leases together allowed.
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

/// The phase of a lease: one of `watchdog_common::phase`.
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

/// Whether the current process may write the whole range under its lease. Counts the write if so.
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

/// Negative if any byte is outside the memory of a lease, or if there is no lease. The addresses
/// must not be negative themselves. Like [`memory`], this has no branch on a range.
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

/// Whether a file is the leased executable. No process may write it, or trace a process that runs
/// it.
#[inline(always)]
pub(crate) fn is_executable(key: FileKey) -> bool {
    if key.is_none() || !identity::may_be_known(&key) {
        return false;
    }
    let Some(lease) = LEASE.get_ptr(0) else { return false };
    // SAFETY: the map's own memory, plain integers; all zero without a lease.
    key == unsafe { core::ptr::read_volatile(&raw const (*lease).exe) }
}

/// The role of a process that begins to execute a file, if that is the leased executable.
#[inline(always)]
pub(crate) fn role_of(key: FileKey) -> Option<u32> {
    let lease = in_force()?;
    if !is_executable(key) {
        return None;
    }
    // SAFETY: the map's own memory; one word of it.
    Some(unsafe { core::ptr::read_volatile(&raw const (*lease).number) })
}

/// Registers the executable when the watchdog's command opens it to request a lease.
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
