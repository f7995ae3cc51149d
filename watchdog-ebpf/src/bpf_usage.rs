//! Decides whether and why the guard refuses a BPF program: by its type, its attach type, and the
//! helpers that it calls.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use watchdog_common::{HELPERS, Rules, bpf_use};

use crate::kernel::{Object, offset, read};
use crate::rules::{self, Table};
use crate::structures::{BpfAux, BpfProgram};

/// `BPF_PROG_TYPE_STRUCT_OPS`.
const STRUCT_OPS: u32 = 27;
/// A call (`BPF_JMP | BPF_CALL`), and its target in the upper half of the second byte: a helper, or
/// a function of the kernel (`BPF_PSEUDO_KFUNC_CALL`).
const CALL: u8 = 0x85;
const HELPER: u8 = 0;
const KERNEL_FUNCTION: u8 = 2;
/// The largest number of instructions that `bpf_loop` visits. No program has more:
/// `BPF_COMPLEXITY_LIMIT_INSNS` is a million, before the verifier adds its own.
const MOST_INSTRUCTIONS: u32 = 1 << 23;

/// Why a program of these types is refused: one of `watchdog_common::bpf_use`.
#[inline(always)]
pub(crate) fn usage(kind: u32, attach: u32, attach_id: impl Fn() -> u32) -> u32 {
    if kind == STRUCT_OPS {
        let operations = attach_id();
        let (one, other) = (rules::scheduler(0), rules::scheduler(1));
        if operations != Rules::NO_TYPE && (operations == one || operations == other) {
            return bpf_use::SCHEDULER;
        }
    }
    match usage_of_type(Table::ProgramTypes, kind) {
        // The worse of both.
        bpf_use::NONE | bpf_use::TRACING
            if usage_of_type(Table::AttachTypes, attach) != bpf_use::NONE =>
        {
            usage_of_type(Table::AttachTypes, attach)
        }
        usage => usage,
    }
}

#[inline(always)]
pub(crate) fn usage_of_type(table: Table, value: u32) -> u32 {
    rules::entry(table, value).unwrap_or(bpf_use::NONE)
}

/// Why a loaded program is refused: one of `watchdog_common::bpf_use`.
#[inline(always)]
pub(crate) fn usage_of(program: BpfProgram) -> u32 {
    let aux = program.aux();
    let kind = program.kind().unwrap_or(0);
    let attach = program.attach_type().unwrap_or(0);
    let by_type = usage(kind, attach, || aux.and_then(BpfAux::attach_id).unwrap_or(Rules::NO_TYPE));
    if by_type != bpf_use::NONE && by_type != bpf_use::TRACING {
        return by_type;
    }
    if aux.is_none_or(BpfAux::writes_registers) {
        return bpf_use::REGISTERS;
    }
    let length = program.length().unwrap_or(MOST_INSTRUCTIONS);
    let mut search = Search { program: program.address(), is_found: 0 };
    // SAFETY: the function is one that the helper may call, and `search` outlives the call.
    let done =
        unsafe { bpf_loop(length, check_instruction as *mut c_void, (&raw mut search).cast(), 0) };
    if search.is_found != 0 || done < 0 { bpf_use::HELPER } else { by_type }
}

/// A program whose instructions are searched.
#[repr(C)]
struct Search {
    program: u64,
    is_found: u64,
}

/// Checks one instruction. Returns 1, which ends the loop, at a call of a helper of the rules.
unsafe extern "C" fn check_instruction(n: u32, search: *mut Search) -> u64 {
    // SAFETY: on the stack of the program above, which waits.
    let search = unsafe { &mut *search };
    let at = offset!(program_instructions) + (n & (MOST_INSTRUCTIONS - 1)) * 8;
    let Some([code, registers, _, _, low @ ..]) = read::<[u8; 8]>(search.program as Object, at)
    else {
        search.is_found = 1;
        return 1;
    };
    if code != CALL || !matches!(registers >> 4, HELPER | KERNEL_FUNCTION) {
        return 0;
    }
    let called = i32::from_ne_bytes(low);
    let mut n = 0;
    while n < HELPERS {
        if called != Rules::NO_HELPER && called == rules::helper(n) {
            search.is_found = 1;
            return 1;
        }
        n += 1;
    }
    0
}
