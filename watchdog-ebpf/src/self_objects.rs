//! Path `self`: the guard's tables and programs, reached for by bpf(2).
//!
//! match-proto: `int bpf_lsm_bpf_map(struct bpf_map *, fmode_t)`, `int bpf_lsm_bpf_prog(struct
//! bpf_prog *)` (6.1 to 7.2): called whenever a descriptor of one is made, from a pin or by id
//! (`bpf_map_new_fd()`, `bpf_prog_new_fd()`, kernel/bpf/syscall.c). Needs `bpf` among the active
//! LSMs. A program that was just loaded gets its first descriptor here, so one of others that is
//! refused ends here (`bpf_programs`).
//!
//! Without a descriptor nothing can be read, changed, replaced, detached or extended: links of
//! tracing and LSM programs cannot be detached by anyone, and the program on the root cgroup is
//! attached without a link, so that detaching it takes a descriptor of it.
//!
//! Fails open for an object whose id cannot be read; the self-test tries a canary.

use aya_ebpf::macros::{lsm, map};
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::LsmContext;
use watchdog_common::{bpf_use, path, self_act};

use crate::identity::is_trusted;
use crate::kernel::{Object, field, offset};
use crate::self_protection::deny_untrusted;
use crate::{access, bpf_usage};

/// Ids of the guard's tables; the value is 1, and 2 for the canary.
#[map]
static MAPS: HashMap<u32, u32> = HashMap::with_max_entries(64, 0);
/// Ids of its programs, likewise.
#[map]
static PROGRAMS: HashMap<u32, u32> = HashMap::with_max_entries(128, 0);

/// The canary: what the watchdog itself is refused, as a probe.
#[map]
static DECOY: aya_ebpf::maps::Array<u32> = aya_ebpf::maps::Array::with_max_entries(1, 0);

const IS_CANARY: u32 = 2;

/// Judges a descriptor of a table.
#[lsm(hook = "bpf_map")]
pub(crate) fn bpf_map(ctx: LsmContext) -> i32 {
    let map: Object = ctx.arg(0);
    if let Some(verdict) = access::earlier(ctx.arg(2)) {
        return verdict;
    }
    let id = field::<u32>(map, offset!(map_id)).unwrap_or(0);
    // SAFETY: entries are never removed; a value is one word.
    match unsafe { MAPS.get(id) }.copied() {
        Some(kind) => deny_untrusted(self_act::MAP, kind == IS_CANARY),
        None => 0,
    }
}

/// Judges a descriptor of a program.
#[lsm(hook = "bpf_prog")]
pub(crate) fn bpf_prog(ctx: LsmContext) -> i32 {
    let program: Object = ctx.arg(0);
    if let Some(verdict) = access::earlier(ctx.arg(1)) {
        return verdict;
    }
    match kind(program) {
        Some(kind) => deny_untrusted(self_act::PROGRAM, kind == IS_CANARY),
        None if is_trusted() => 0,
        None => match bpf_usage::usage_of(program) {
            0 => 0,
            bpf_use::TRACING => access::deny_program(path::TRACING, bpf_use::TRACING),
            usage => access::deny_program(path::BPF, usage),
        },
    }
}

/// Whether a program is one of the guard's.
#[inline(always)]
pub(crate) fn belongs_to_guard(program: Object) -> bool {
    kind(program).is_some()
}

/// What a program is to the guard.
#[inline(always)]
fn kind(program: Object) -> Option<u32> {
    let aux = field::<Object>(program, offset!(program_aux)).unwrap_or(core::ptr::null());
    let id = field::<u32>(aux, offset!(aux_id)).unwrap_or(0);
    // SAFETY: as above.
    unsafe { PROGRAMS.get(id) }.copied()
}
