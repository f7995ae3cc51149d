//! Path `processors`: a processor is started that was not this node's when the guard was armed.
//! Starting one sends it INIT, which ends whatever another node's kernel does on it.
//!
//! match-proto: `int _cpu_up(unsigned int, int, enum cpuhp_state)` (kernel/cpu.c, 6.1 to 7.2):
//! every processor that is started goes through it, whoever asked. It cannot be refused there, so
//! that is an alert; what is refused is opening the switches for writing, in `file_open`: `online`
//! and `hotplug/target` below `/sys/devices/system/cpu/cpuN` (drivers/base/core.c, kernel/cpu.c),
//! and `smt/control` beside them, which starts processors it chooses itself.
//!
//! They are known by their names on a sysfs, of which there may be many: each network namespace has
//! its own. Fails closed: a number that is not read is one of no processor that may be started.

use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;
use watchdog_common::path;

use crate::kernel::{Object, field, offset};
use crate::{access, rules};

/// `SYSFS_MAGIC` (include/uapi/linux/magic.h).
pub(crate) const SYSFS: u64 = 0x6265_6572;

const ONLINE: [u8; 7] = *b"online\0";
const TARGET: [u8; 7] = *b"target\0";
const HOTPLUG: [u8; 8] = *b"hotplug\0";
const CONTROL: [u8; 8] = *b"control\0";
const SMT: [u8; 4] = *b"smt\0";
const PROCESSOR: [u8; 3] = *b"cpu";
const PROCESSORS: [u8; 4] = *b"cpu\0";

/// Sees a processor started.
#[fentry]
pub(crate) fn processor_up(ctx: FEntryContext) -> u32 {
    let number: u32 = ctx.arg(0);
    if !rules::may_start(number) {
        access::kill_or_report_detail(path::PROCESSORS, number);
    }
    0
}

/// Whether a file of a sysfs, by its name there, starts a processor that may not be started.
#[inline(always)]
pub(crate) fn is_switch(entry: Object) -> bool {
    let above = parent(entry);
    if name::<7>(entry) == Some(ONLINE) {
        return is_foreign(above);
    }
    if name::<7>(entry) == Some(TARGET) {
        return name::<8>(above) == Some(HOTPLUG) && is_foreign(parent(above));
    }
    name::<8>(entry) == Some(CONTROL)
        && name::<4>(above) == Some(SMT)
        && name::<4>(parent(above)) == Some(PROCESSORS)
}

/// Whether a folder is a processor's that may not be started.
#[inline(always)]
fn is_foreign(folder: Object) -> bool {
    let Some(name) = name::<8>(folder) else { return false };
    let [c, p, u, digits @ ..] = name;
    if [c, p, u] != PROCESSOR || self::name::<4>(parent(folder)) != Some(PROCESSORS) {
        return false;
    }
    let mut number = 0_u32;
    for digit in digits {
        if !digit.is_ascii_digit() {
            break;
        }
        number = number * 10 + u32::from(digit - b'0');
    }
    !rules::may_start(number)
}

#[inline(always)]
fn parent(entry: Object) -> Object {
    field(entry, offset!(dentry_parent)).unwrap_or(core::ptr::null())
}

/// The beginning of a name. A short one is followed by whatever is there: a name is in a place of
/// at least 32 bytes, its own or a larger one (`d_iname`, `struct external_name`, fs/dcache.c).
#[inline(always)]
fn name<const N: usize>(entry: Object) -> Option<[u8; N]> {
    let name = field::<Object>(entry, offset!(dentry_name))?;
    field::<[u8; N]>(name, 0)
}
