//! bpf(2), and programs that only return a number.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};
use aya_obj::generated::{
    BPF_ALU64, BPF_EXIT, BPF_JMP, BPF_K, BPF_MOV, bpf_attr, bpf_cmd, bpf_func_info, bpf_insn,
    bpf_prog_type,
};

/// A program that only returns a number.
pub(super) struct Program<'a> {
    kind: bpf_prog_type,
    attach: u32,
    target: u32,
    extended: Option<BorrowedFd<'a>>,
    types: Option<(BorrowedFd<'a>, u32)>,
    returned: i32,
}

impl<'a> Program<'a> {
    /// A program of this kind that returns 0.
    pub(super) fn new(kind: bpf_prog_type) -> Self {
        Self { kind, attach: 0, target: 0, extended: None, types: None, returned: 0 }
    }

    /// Sets the kind of its place, or the number of the structure's member that it is for.
    pub(super) fn attach(self, attach: u32) -> Self {
        Self { attach, ..self }
    }

    /// Sets the type of the function or structure that it is for.
    pub(super) fn target(self, target: u32) -> Self {
        Self { target, ..self }
    }

    /// Sets the program that has that function.
    pub(super) fn extends(self, program: BorrowedFd<'a>) -> Self {
        Self { extended: Some(program), ..self }
    }

    /// Sets the type information of the program, and in it the type of the main function.
    pub(super) fn typed(self, types: BorrowedFd<'a>, main: u32) -> Self {
        Self { types: Some((types, main)), ..self }
    }

    /// Sets the number that it returns.
    pub(super) fn returning(self, returned: i32) -> Self {
        Self { returned, ..self }
    }

    /// Loads the program `r0 = NUMBER; exit`.
    pub(super) fn load(&self) -> Result<OwnedFd> {
        let mut code = [instruction(BPF_ALU64 | BPF_MOV | BPF_K), instruction(BPF_JMP | BPF_EXIT)];
        code[0].imm = self.returned;
        let mut attributes = zeroed();
        // SAFETY: every field is a number, whose bytes are all zero.
        let load = unsafe { &mut attributes.__bindgen_anon_3 };
        load.prog_type = self.kind as u32;
        load.insn_cnt = u32::try_from(code.len())?;
        load.insns = code.as_mut_ptr() as u64;
        load.license = c"GPL".as_ptr() as u64;
        load.expected_attach_type = self.attach;
        load.attach_btf_id = self.target;
        load.__bindgen_anon_1.attach_prog_fd = number(self.extended);
        let main = self.types.map(|(_, main)| bpf_func_info { insn_off: 0, type_id: main });
        if let Some(main) = &main {
            load.prog_btf_fd = number(self.types.map(|(types, _)| types));
            load.func_info_rec_size = u32::try_from(size_of::<bpf_func_info>())?;
            load.func_info = &raw const *main as u64;
            load.func_info_cnt = 1;
        }
        bpf(bpf_cmd::BPF_PROG_LOAD, &mut attributes).context("the kernel takes no such program")
    }
}

/// A descriptor as the kernel reads it; 0 stands for none.
fn number(descriptor: Option<BorrowedFd<'_>>) -> u32 {
    descriptor.map_or(0, |it| it.as_raw_fd().cast_unsigned())
}

fn instruction(code: u32) -> bpf_insn {
    // SAFETY: the structure consists of numbers, for which zero is valid.
    let mut instruction: bpf_insn = unsafe { std::mem::zeroed() };
    instruction.code = u8::try_from(code).unwrap_or_default();
    instruction
}

/// Attributes of a call of bpf(2), all zero.
pub(super) fn zeroed() -> bpf_attr {
    // SAFETY: the union's members consist of numbers, for which zero is valid.
    unsafe { std::mem::zeroed() }
}

/// Calls bpf(2), and returns the descriptor of what it made.
pub(super) fn bpf(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<OwnedFd> {
    descriptor(call(command, attributes))
}

/// Calls bpf(2), which returns 0.
pub(super) fn change(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<()> {
    if call(command, attributes) == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn call(command: bpf_cmd, attributes: &mut bpf_attr) -> libc::c_long {
    let (attributes, size) = (&raw mut *attributes, size_of::<bpf_attr>());
    // SAFETY: the kernel reads `size` bytes there. The memory they point to belongs to the callers
    // and outlives the call.
    unsafe { libc::syscall(libc::SYS_bpf, command as u32, attributes, size) }
}

/// Returns the descriptor that a system call returned, or its error.
pub(super) fn descriptor(returned: libc::c_long) -> io::Result<OwnedFd> {
    match i32::try_from(returned) {
        // SAFETY: the kernel made the descriptor for this call. It has no other owner.
        Ok(new @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(new) }),
        _ => Err(io::Error::last_os_error()),
    }
}
