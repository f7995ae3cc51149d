//! Path `processors`: node 0 starts a processor that it did not have when the guard was armed. The
//! start sends INIT to the processor, which stops another node's kernel there.
//!
//! match-proto: `int _cpu_up(unsigned int, int, enum cpuhp_state)` (kernel/cpu.c, 6.1 to 7.2):
//! every start of a processor calls it. A program there can detect the start, but not refuse it.
//! `file_open` denies opening the switches for writing: `online` and `hotplug/target` below
//! `/sys/devices/system/cpu/cpuN` (drivers/base/core.c, kernel/cpu.c), and `smt/control` beside
//! them, which itself chooses the processors to start.
//!
//! The switches are identified by their names on any sysfs. There may be many, because each network
//! namespace has its own. Fails closed for a number that the rules do not know, and open for a name
//! that cannot be read.

use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;
use watchdog_common::path;

use crate::access::Access;
use crate::rules;
use crate::structures::Dentry;

/// `SYSFS_MAGIC` (include/uapi/linux/magic.h).
pub(crate) const SYSFS: u64 = 0x6265_6572;

const ONLINE: [u8; 7] = *b"online\0";
const TARGET: [u8; 7] = *b"target\0";
const HOTPLUG: [u8; 8] = *b"hotplug\0";
const CONTROL: [u8; 8] = *b"control\0";
const SMT: [u8; 4] = *b"smt\0";
const PROCESSOR: [u8; 3] = *b"cpu";
const PROCESSORS: [u8; 4] = *b"cpu\0";

/// Detects the start of a processor.
#[fentry]
pub(crate) fn processor_up(ctx: FEntryContext) -> u32 {
    let number: u32 = ctx.arg(0);
    if !rules::may_start(number) {
        Access::to_resource(path::PROCESSORS, number).kill_or_report();
    }
    0
}

/// Whether a file of a sysfs, by its name there, can start a processor that may not be started.
#[inline(always)]
pub(crate) fn is_switch(entry: Dentry) -> bool {
    let Some(above) = entry.parent() else { return false };
    if entry.name_starts() == Some(ONLINE) {
        return is_foreign(above);
    }
    if entry.name_starts() == Some(TARGET) {
        return above.name_starts() == Some(HOTPLUG) && above.parent().is_some_and(is_foreign);
    }
    entry.name_starts() == Some(CONTROL)
        && above.name_starts() == Some(SMT)
        && above.parent().and_then(Dentry::name_starts) == Some(PROCESSORS)
}

/// Whether a folder belongs to a processor that may not be started.
#[inline(always)]
fn is_foreign(folder: Dentry) -> bool {
    let Some([c, p, u, digits @ ..]) = folder.name_starts::<8>() else { return false };
    let is_in_processors = || folder.parent().and_then(Dentry::name_starts) == Some(PROCESSORS);
    if [c, p, u] != PROCESSOR || !is_in_processors() {
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
