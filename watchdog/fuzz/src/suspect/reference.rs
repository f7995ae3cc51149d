//! The reference of the suspect.

use watchdog_core::image::Relocations;
use watchdog_core::verify::reference::{
    Alternative, ConstantKind, Gate, ImageSymbols, JumpLabel, KnownSymbols, ParavirtSite, Piece,
    Reference, RuntimeConstant, StaticCall, Tables, Trampoline,
};

use super::*;

fn branch(opcode: u8, from: u32, to: u32) -> [u8; 5] {
    let [a, b, c, d] = to.wrapping_sub(from).wrapping_sub(5).to_le_bytes();
    [opcode, a, b, c, d]
}

/// The text as linked.
fn linked() -> Vec<u8> {
    let mut text = vec![0x90; TEXT_SIZE as usize];
    let mut put = |at: u32, code: &[u8]| {
        text[at as usize..at as usize + code.len()].copy_from_slice(code);
    };
    put(TRAMPOLINE, &branch(0xe9, TRAMPOLINE, FUNCTIONS));
    for template in [TEMPLATE, OTHER_TEMPLATE] {
        put(template + BEFORE_CALL, &branch(0xe8, template + BEFORE_CALL, NOTHING));
    }
    for at in functions() {
        put(at, &branch(0xe8, at, FENTRY));
        put(at + LABEL, &[0x0f, 0x1f, 0x44, 0, 0]);
        put(at + CALL, &branch(0xe8, at + CALL, TRAMPOLINE));
        put(at + LOCK, &[0xf0]);
        put(at + BRANCH, &branch(0xe8, at + BRANCH, REGISTER_THUNK));
        put(at + SEAL, &[0xf3, 0x0f, 0x1e, 0xfa]);
        let slot = |from: u32| PV_OPS.wrapping_sub(from + 6).to_le_bytes();
        for place in [ALTERNATIVE, PARAVIRT] {
            put(at + place, &[&[0xff, 0x15][..], &slot(at + place)].concat());
        }
        put(at + IMMEDIATE, &0x1234_u64.to_le_bytes());
        put(at + DIRECT, &branch(0xe8, at + DIRECT, FUNCTIONS));
        put(at + RETURN, &branch(0xe9, at + RETURN, RETURN_THUNK));
    }
    text
}

/// The reference that an image of this kernel would give.
pub(super) fn reference() -> Reference {
    let mut names: Vec<(u32, &str)> = vec![
        (0, "_stext"),
        (FENTRY, "__fentry__"),
        (RETURN_THUNK, "__x86_return_thunk"),
        (REGISTER_THUNK, "__x86_indirect_thunk_rax"),
        (TRAMPOLINE, "__SCT__call"),
        (TEMPLATE, "ftrace_caller"),
        (TEMPLATE + BEFORE_CALL, "ftrace_call"),
        (TEMPLATE + TEMPLATE_SIZE, "ftrace_caller_end"),
        (OTHER_TEMPLATE, "ftrace_regs_caller"),
        (OTHER_TEMPLATE + BEFORE_CALL, "ftrace_regs_call"),
        (OTHER_TEMPLATE + TEMPLATE_SIZE, "ftrace_regs_caller_end"),
        (ZERO, "__static_call_return0"),
        (BUG, "BUG_func"),
        (NOTHING, "nop_func"),
        (PATCHER, "klp_ftrace_handler"),
        (PROBER, "kprobe_ftrace_handler"),
        (TRACER, "function_trace_call"),
        (TRACERS, "arch_ftrace_ops_list_func"),
        (ENTRY, "asm_exc_page_fault"),
        (RODATA, "__start_rodata"),
        (RODATA, "sys_call_table"),
        (DETOUR, "optprobe_template_entry"),
        (DETOUR + 8, "optprobe_template_clac"),
        (DETOUR + 32, "optprobe_template_val"),
        (CALLS_TABLE, "__start_static_call_sites"),
        (CALLS_TABLE + 0x100, "__stop_static_call_sites"),
        (RO_AFTER_INIT, "__start_ro_after_init"),
        (RODATA + RODATA_SIZE, "__end_ro_after_init"),
        (RODATA + RODATA_SIZE, "__end_rodata"),
        (IDT, "idt_table"),
        (CALL_KEY, "__SCK__call"),
        (MUTEX, "text_mutex"),
        (OPS_LIST, "ftrace_ops_list"),
        (LIST_END, "ftrace_list_end"),
        (BPF_LIST, "bpf_kallsyms"),
        (MODULES, "modules"),
        (PROBES, "kprobe_table"),
    ];
    names.extend(functions().map(|at| (at, "function")));
    names.sort_by_key(|(at, _)| *at);
    let symbols = names.into_iter().map(|(at, name)| {
        let kind = if at < TEXT_SIZE { b't' } else { b'd' };
        (kind, name.to_owned(), at)
    });
    // KASLR moves two words of the read-only data, and one word of padding in the text.
    let quads = vec![RODATA, RODATA + 8];
    let none = Relocations::default();
    let piece = |offset, bytes, relocations| Piece { offset, bytes, relocations };
    Reference {
        release: "6.12.0-made-up".to_owned(),
        banner: made_up_banner(),
        build_id: "5eed".to_owned(),
        link_address: VIRT - DISTANCE,
        text: piece(0, linked(), Relocations { words: vec![0x1078], ..none.clone() }),
        replacements: piece(REPLACEMENTS, replacements(), none.clone()),
        rodata: piece(RODATA, rodata(), Relocations { quads, ..none }),
        left_out: RODATA + 0x200..RODATA + 0x240,
        tables: tables(),
        gates: vec![Gate { vector: 14, handler: ENTRY }],
        symbols: ImageSymbols::from_ascending(symbols),
        layouts: LAYOUTS,
        not_judged: Vec::new(),
    }
}

fn replacements() -> Vec<u8> {
    let mut bytes = vec![0x90; 0x100];
    bytes[..3].copy_from_slice(&[0x0f, 0xae, 0xe8]);
    bytes[16..21].copy_from_slice(&branch(0xe8, REPLACEMENTS + 16, BUG));
    bytes
}

fn rodata() -> Vec<u8> {
    let mut bytes = vec![0; RODATA_SIZE as usize];
    let link = VIRT - DISTANCE;
    bytes[..8].copy_from_slice(&(link + u64::from(FUNCTIONS)).to_le_bytes());
    bytes[8..16].copy_from_slice(&(link + u64::from(TRACER)).to_le_bytes());
    let detour = (DETOUR - RODATA) as usize;
    bytes[detour..detour + 32].copy_from_slice(&[0x90; 32]);
    bytes
}

fn tables() -> Tables {
    let each = |place: u32| functions().map(move |at| at + place).collect::<Vec<u32>>();
    let alternative = |at: u32, replacement, replacement_length, feature, direct_call| {
        let (length, inverted) = (8, false);
        Alternative { at, length, replacement, replacement_length, feature, inverted, direct_call }
    };
    Tables {
        alternatives: each(ALTERNATIVE)
            .into_iter()
            .flat_map(|at| {
                [
                    alternative(at, REPLACEMENTS, 3, 1, false),
                    alternative(at, REPLACEMENTS + 16, 5, 2, true),
                ]
            })
            .collect(),
        paravirt: each(PARAVIRT)
            .into_iter()
            .map(|at| ParavirtSite { at, slot: 0, length: 7 })
            .collect(),
        smp_locks: each(LOCK),
        retpolines: each(BRANCH),
        returns: each(RETURN),
        calls: each(DIRECT),
        ibt_seals: each(SEAL),
        cfi: Vec::new(),
        unknown: Vec::new(),
        jump_labels: each(LABEL)
            .into_iter()
            .map(|at| JumpLabel { at, target: at + 0x30, key: KEY, inverted: false })
            .collect(),
        static_calls: each(CALL)
            .into_iter()
            .map(|at| StaticCall { at, key: CALL_KEY, tail: false })
            .collect(),
        trampolines: vec![Trampoline { at: TRAMPOLINE, key: CALL_KEY }],
        fentry: each(0),
        runtime_constants: vec![RuntimeConstant {
            name: "constant".to_owned(),
            variable: Some(CONSTANT),
            sites: each(IMMEDIATE),
            kind: ConstantKind::Pointer,
        }],
        known_symbols: KnownSymbols {
            pv_ops: Some(PV_OPS),
            fentry: Some(FENTRY),
            return_thunk: Some(THUNK),
            default_thunk: Some(RETURN_THUNK),
            return_zero: Some(ZERO),
            bug: Some(BUG),
            nop: Some(NOTHING),
            warning: None,
            unlock: None,
        },
    }
}

/// The bytes of the text that a rule covers.
pub(super) fn sites(reference: &Reference) -> Vec<bool> {
    let mut sites = vec![false; reference.text.bytes.len()];
    let mut add = |at: u32, length: u32| sites[at as usize..(at + length) as usize].fill(true);
    let lengths = [
        (0, 5),
        (LABEL, 5),
        (CALL, 5),
        (LOCK, 1),
        (BRANCH, 5),
        (SEAL, 4),
        (ALTERNATIVE, 8),
        (PARAVIRT, 7),
        (IMMEDIATE, 8),
        (DIRECT, 5),
        (RETURN, 5),
    ];
    functions().for_each(|at| lengths.iter().for_each(|(place, size)| add(at + place, *size)));
    add(TRAMPOLINE, 5);
    add(TEMPLATE + BEFORE_CALL, 5);
    add(OTHER_TEMPLATE + BEFORE_CALL, 5);
    sites
}
