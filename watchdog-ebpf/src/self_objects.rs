//! Path `self`: a process opens the guard's tables and programs through bpf(2).
//!
//! match-proto: `int bpf_lsm_bpf_map(struct bpf_map *, fmode_t)`, `int bpf_lsm_bpf_prog(struct
//! bpf_prog *)` (6.1 to 7.2). The kernel calls them for each new descriptor, from a pin or by id
//! (`bpf_map_new_fd()`, `bpf_prog_new_fd()`, kernel/bpf/syscall.c). Needs `bpf` among the active
//! LSMs. A new program gets its first descriptor here too, so a foreign program can be refused here
//! (`bpf_programs`).
//!
//! Without a descriptor, a process cannot read, change, replace, detach or extend anything. The
//! kernel does not detach links of tracing and LSM programs. A program on the root cgroup is
//! attached without a link, so a process needs a descriptor of it to detach it.
//!
//! Fails open for an object whose id cannot be read. The self-test opens a canary.

use aya_ebpf::macros::{lsm, map};
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::LsmContext;
use watchdog_common::{bpf_use, object_kind, path, self_act};

use crate::access::{Access, earlier};
use crate::bpf_usage;
use crate::identity::is_trusted;
use crate::pointer::Structure;
use crate::self_protection::deny_untrusted;
use crate::structures::{BpfMap, BpfProgram};

/// Ids of the guard's tables. The value is one of `watchdog_common::object_kind`.
#[map]
static MAPS: HashMap<u32, u32> = HashMap::with_max_entries(64, 0);
/// Ids of the guard's programs, with the same values.
#[map]
static PROGRAMS: HashMap<u32, u32> = HashMap::with_max_entries(128, 0);

/// The canary. The watchdog itself is refused a descriptor of it, as a probe.
#[map]
static DECOY: aya_ebpf::maps::Array<u32> = aya_ebpf::maps::Array::with_max_entries(1, 0);

/// Judges a descriptor of a table.
#[lsm(hook = "bpf_map")]
pub(crate) fn bpf_map(ctx: LsmContext) -> i32 {
    if let Some(verdict) = earlier(ctx.arg(2)) {
        return verdict;
    }
    let Some(id) = BpfMap::at(ctx.arg(0)).and_then(BpfMap::id) else { return 0 };
    // SAFETY: entries are never removed; a value is one word.
    match unsafe { MAPS.get(id) }.copied() {
        Some(kind) => deny_untrusted(self_act::MAP, kind == object_kind::CANARY),
        None => 0,
    }
}

/// Judges a descriptor of a program.
#[lsm(hook = "bpf_prog")]
pub(crate) fn bpf_prog(ctx: LsmContext) -> i32 {
    if let Some(verdict) = earlier(ctx.arg(1)) {
        return verdict;
    }
    let Some(program) = BpfProgram::at(ctx.arg(0)) else { return 0 };
    match kind(program) {
        Some(kind) => deny_untrusted(self_act::PROGRAM, kind == object_kind::CANARY),
        None if is_trusted() => 0,
        None => match bpf_usage::usage_of(program) {
            bpf_use::NONE => 0,
            bpf_use::TRACING => Access::to_resource(path::TRACING, bpf_use::TRACING).deny(),
            usage => Access::to_resource(path::BPF, usage).deny(),
        },
    }
}

/// Whether a program is one of the guard's.
#[inline(always)]
pub(crate) fn belongs_to_guard(program: BpfProgram) -> bool {
    kind(program).is_some()
}

/// The kind of a program of the guard; `None` for a foreign program.
#[inline(always)]
fn kind(program: BpfProgram) -> Option<u32> {
    let id = program.aux()?.id()?;
    // SAFETY: as above.
    unsafe { PROGRAMS.get(id) }.copied()
}
