//! Paths `bpf` and `bpf-tracing`: foreign BPF programs. Such a program at a function or LSM hook
//! can run before the guard's program. If it returns anything but 0, the guard's program does not
//! run. Others can send signals to the watchdog, write its memory, or decide when it runs.
//!
//! match-proto: `int bpf_lsm_bpf(int, union bpf_attr *, unsigned int)` (6.1, 6.12; 7.2 has a fourth
//! parameter, `bool kernel`), called for each bpf(2) with a copy of its attributes that no process
//! can change (`__sys_bpf()`, kernel/bpf/syscall.c); `int bpf_iter_bpf_prog(struct bpf_iter_meta *,
//! struct bpf_prog *)` (kernel/bpf/prog_iter.c, 6.1 to 7.2). Needs `bpf` among the active LSMs.
//!
//! When a program is loaded, it is judged by its type and by its attach type. When a descriptor of
//! it is made (`bpf_prog`), it is judged again, also by the helpers that it calls: by then the
//! verifier has put their addresses into the instructions. Programs from before the guard are
//! listed for the watchdog, which does not arm beside them.
//!
//! The program ignores an earlier program's verdict: if that is not 0, the kernel does not run this
//! program (`invoke_bpf_mod_ret()`, arch/x86/net/bpf_jit_comp.c).
//!
//! Fails open if attributes cannot be read. The watchdog's probe is a call that the kernel refuses
//! after the hook.

use core::ffi::c_void;

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use watchdog_common::{ForeignProgram, bpf_use, path};

use crate::access::Access;
use crate::bpf_usage::{usage, usage_of, usage_of_type};
use crate::identity::is_trusted;
use crate::kernel::{Object, read};
use crate::listing::{self, Meta};
use crate::rules::Table;
use crate::self_objects;
use crate::structures::{BpfAux, BpfProgram};

/// Commands (`enum bpf_cmd`, include/uapi/linux/bpf.h).
const PROG_LOAD: i32 = 5;
const PROG_ATTACH: i32 = 8;
const LINK_CREATE: i32 = 28;
/// Byte offsets in `union bpf_attr`. `PROG_LOAD` has the type, the count of instructions, the
/// attach type and the attach target. The other two commands have the attach type.
const LOAD_TYPE: u32 = 0;
const LOAD_COUNT: u32 = 4;
const LOAD_ATTACH_TYPE: u32 = 68;
const LOAD_ATTACH_ID: u32 = 108;
const ATTACH_TYPE: u32 = 8;

/// Judges a call of bpf(2).
#[lsm(hook = "bpf")]
pub(crate) fn bpf(ctx: LsmContext) -> i32 {
    let command: i32 = ctx.arg(0);
    let attributes: Object = ctx.arg(1);
    let word = |at: u32| read::<u32>(attributes, at).unwrap_or_default();
    let (usage, is_empty) = match command {
        PROG_LOAD => {
            let usage = usage(word(LOAD_TYPE), word(LOAD_ATTACH_TYPE), || word(LOAD_ATTACH_ID));
            (usage, word(LOAD_COUNT) == 0)
        }
        PROG_ATTACH | LINK_CREATE => (usage_of_type(Table::AttachTypes, word(ATTACH_TYPE)), false),
        _ => return 0,
    };
    if usage == bpf_use::NONE {
        return 0;
    }
    // The kernel refuses a program without instructions. The watchdog loads such a program as a
    // probe.
    let path = if usage == bpf_use::TRACING { path::TRACING } else { path::BPF };
    if is_trusted() && !is_empty { 0 } else { Access::to_resource(path, usage).deny() }
}

/// `struct bpf_iter__bpf_prog` (kernel/bpf/prog_iter.c); each field is eight bytes.
#[repr(C)]
struct Context {
    meta: *const Meta,
    program: Option<BpfProgram>,
}

/// The kernel calls this for each loaded program, and at the end once without a program.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter")]
fn foreign_programs(ctx: *mut c_void) -> i32 {
    // SAFETY: the kernel's own context of this kind of program.
    let Context { meta, program } = unsafe { core::ptr::read(ctx.cast::<Context>()) };
    let Some(program) = program else { return 0 };
    if self_objects::belongs_to_guard(program) {
        return 0;
    }
    let usage = usage_of(program);
    if usage == bpf_use::NONE || usage == bpf_use::TRACING {
        return 0;
    }
    let aux = program.aux();
    let id = aux.and_then(BpfAux::id).unwrap_or_default();
    let target = aux.and_then(BpfAux::attach_id).unwrap_or_default();
    let found = ForeignProgram { id, usage, target };
    // SAFETY: the kernel's own; a structure of three words.
    unsafe { listing::write(meta, &found) };
    0
}
