//! bpf(2), as far as `disarm` needs it: objects by their ids, and programs as instructions.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use aya_obj::btf::{Btf, BtfKind};
use watchdog_tests::errno::checked;

/// How long a program stays so that other processes find it.
pub(crate) const A_WHILE: Duration = Duration::from_secs(180);
/// Commands of include/uapi/linux/bpf.h.
pub(crate) const MAP_CREATE: i32 = 0;
pub(crate) const MAP_UPDATE_ELEM: i32 = 2;
pub(crate) const PROG_LOAD: i32 = 5;
pub(crate) const OBJ_GET: i32 = 7;
pub(crate) const PROG_ATTACH: i32 = 8;
pub(crate) const PROG_DETACH: i32 = 9;
pub(crate) const PROG_TEST_RUN: i32 = 10;
pub(crate) const PROG_GET_NEXT_ID: i32 = 11;
pub(crate) const MAP_GET_NEXT_ID: i32 = 12;
pub(crate) const PROG_GET_FD_BY_ID: i32 = 13;
pub(crate) const MAP_GET_FD_BY_ID: i32 = 14;
pub(crate) const OBJ_GET_INFO_BY_FD: i32 = 15;
pub(crate) const RAW_TRACEPOINT_OPEN: i32 = 17;
pub(crate) const LINK_UPDATE: i32 = 29;
pub(crate) const LINK_GET_FD_BY_ID: i32 = 30;
pub(crate) const LINK_GET_NEXT_ID: i32 = 31;
pub(crate) const LINK_DETACH: i32 = 34;

/// A program to be loaded.
pub(crate) struct Program<'a> {
    /// Its type, of `enum bpf_prog_type`.
    pub(crate) kind: u32,
    /// Its attach type, of `enum bpf_attach_type`.
    pub(crate) attach: u32,
    /// The BTF id of its target; 0 for none.
    pub(crate) target: u32,
    pub(crate) code: &'a [u64],
}

impl Program<'_> {
    /// Loads the program. The kernel verifies it and keeps it as long as the descriptor is open.
    pub(crate) fn load(&self) -> io::Result<OwnedFd> {
        // `struct { … } BPF_PROG_LOAD` of `union bpf_attr`, up to the last field in use.
        let mut words = [0; 29];
        words[0] = self.kind;
        words[1] = self.code.len() as u32;
        words[2..4].copy_from_slice(&halves(self.code.as_ptr() as u64));
        words[4..6].copy_from_slice(&halves(c"GPL".as_ptr() as u64));
        words[17] = self.attach;
        words[27] = self.target;
        bpf(PROG_LOAD, &words).map(owned)
    }
}

/// Attaches a program to its target, or to the tracepoint of this name. Dropping the link detaches
/// the program.
pub(crate) fn link(program: &OwnedFd, tracepoint: Option<&std::ffi::CStr>) -> io::Result<OwnedFd> {
    let [low, high] = halves(tracepoint.map_or(0, |name| name.as_ptr() as u64));
    let program = program.as_raw_fd().cast_unsigned();
    bpf(RAW_TRACEPOINT_OPEN, &[low, high, program, 0]).map(owned)
}

/// Opens a pinned object.
pub(crate) fn pinned(file: &Path) -> io::Result<OwnedFd> {
    let name = CString::new(file.as_os_str().as_bytes())?;
    let [low, high] = halves(name.as_ptr() as u64);
    bpf(OBJ_GET, &[low, high, 0, 0]).map(owned)
}

/// Opens every object of a kind. Each result is the object or the error.
pub(crate) fn all(next: i32, open: i32) -> Vec<io::Result<OwnedFd>> {
    let mut all = Vec::new();
    let mut id = 0;
    loop {
        let mut words = [id, 0, 0];
        // SAFETY: the kernel reads and writes these words.
        let found = unsafe { libc::syscall(libc::SYS_bpf, next, &raw mut words, 12) };
        if found != 0 {
            return all;
        }
        id = words[1];
        all.push(bpf(open, &[id, 0, 0]).map(owned));
    }
}

/// The kernel's BTF, and the ids of its types.
pub(crate) struct Types(Btf);

impl Types {
    pub(crate) fn of_this_kernel() -> io::Result<Self> {
        Btf::from_sys_fs().map(Self).map_err(io::Error::other)
    }

    pub(crate) fn function(&self, name: &str) -> io::Result<u32> {
        self.id(name, BtfKind::Func)
    }

    pub(crate) fn structure(&self, name: &str) -> io::Result<u32> {
        self.id(name, BtfKind::Struct)
    }

    fn id(&self, name: &str, kind: BtfKind) -> io::Result<u32> {
        let found = self.0.id_by_type_name_kind(name, kind);
        found.map_err(|_| io::Error::from_raw_os_error(libc::ENOENT))
    }
}

/// Splits an address into its two words.
pub(crate) fn halves(address: u64) -> [u32; 2] {
    [address as u32, (address >> 32) as u32]
}

pub(crate) fn owned(descriptor: i32) -> OwnedFd {
    // SAFETY: the descriptor is new and has no other owner.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

pub(crate) fn bpf(command: i32, words: &[u32]) -> io::Result<i32> {
    let size = size_of_val(words);
    // SAFETY: the kernel reads the words, and the memory they point to lives as long as the call.
    checked(unsafe { libc::syscall(libc::SYS_bpf, command, words.as_ptr(), size) })
        .map(|result| result as i32)
}

/// Instructions (Documentation/bpf/standardization/instruction-set.rst), named by their effect.
pub(crate) mod code {
    pub(crate) const EXIT: u64 = 0x95;
    /// The register that points to the end of the stack.
    pub(crate) const STACK: u8 = 10;

    /// `register = value`.
    pub(crate) const fn set(register: u8, value: i32) -> u64 {
        instruction(0xb7, register, 0, 0, value)
    }

    /// `register = other`.
    pub(crate) const fn copy(register: u8, other: u8) -> u64 {
        instruction(0xbf, register, other, 0, 0)
    }

    /// `register += value`.
    pub(crate) const fn add(register: u8, value: i32) -> u64 {
        instruction(0x07, register, 0, 0, value)
    }

    /// `register >>= bits`.
    pub(crate) const fn shift_right(register: u8, bits: i32) -> u64 {
        instruction(0x77, register, 0, 0, bits)
    }

    /// `*(u64 *)(register + offset) = value`.
    pub(crate) const fn store(register: u8, offset: i16, value: i32) -> u64 {
        instruction(0x7a, register, 0, offset, value)
    }

    /// `if (register == value)` skip the next `skipped` instructions.
    pub(crate) const fn skip_if(register: u8, value: i32, skipped: i16) -> u64 {
        instruction(0x15, register, 0, skipped, value)
    }

    /// `if (register != value)` skip the next `skipped` instructions.
    pub(crate) const fn skip_unless(register: u8, value: i32, skipped: i16) -> u64 {
        instruction(0x55, register, 0, skipped, value)
    }

    /// `r0 = helper(r1, …)`.
    pub(crate) const fn call(helper: i32) -> u64 {
        instruction(0x85, 0, 0, 0, helper)
    }

    /// `r0 = function(r1, …)`, for a kernel function given by its BTF id.
    pub(crate) const fn call_kernel(function: u32) -> u64 {
        instruction(0x85, 0, 2, 0, function.cast_signed())
    }

    const fn instruction(code: u8, to: u8, from: u8, offset: i16, value: i32) -> u64 {
        code as u64
            | (to as u64) << 8
            | (from as u64) << 12
            | (offset.cast_unsigned() as u64) << 16
            | (value.cast_unsigned() as u64) << 32
    }
}
