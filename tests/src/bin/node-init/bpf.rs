//! BPF programs that do nothing, by bpf(2). They exist so that the kernel rewrites its own text to
//! call them.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};
use aya_obj::btf::{Btf, BtfKind};
use aya_obj::generated::{
    BPF_ALU64, BPF_EXIT, BPF_JMP, BPF_K, BPF_MOV, PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_SET_BPF,
    PERF_FLAG_FD_CLOEXEC, bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_prog_type,
    perf_event_attr,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use watchdog_tests::service::Hook;

/// The result of an XDP program that lets a packet pass (include/uapi/linux/bpf.h).
const XDP_PASS: i32 = 2;

/// The attached programs. Dropping one detaches it.
#[derive(Default)]
pub(crate) struct Programs {
    attached: BTreeMap<Hook, Vec<OwnedFd>>,
    /// The kernel's BTF, read only once: that takes a second under emulation.
    types: Option<Btf>,
}

impl Programs {
    /// Attaches a program to a hook.
    pub(crate) fn attach(&mut self, hook: Hook) -> Result<()> {
        let descriptors = match &hook {
            Hook::Kprobe { function } => attach_kprobe(function),
            Hook::KprobeMulti { functions } => attach_kprobe_multi(functions),
            Hook::Unattached { count } => load_many(*count),
            Hook::Xdp { interface } => attach_xdp(*interface),
            _ => self.attach_to_kernel(&hook),
        };
        let descriptors = descriptors.with_context(|| format!("cannot attach to {hook:?}"))?;
        self.attached.insert(hook, descriptors);
        Ok(())
    }

    /// Detaches the program of a hook.
    pub(crate) fn detach(&mut self, hook: &Hook) -> Result<()> {
        self.attached.remove(hook).map(drop).with_context(|| format!("nothing is at {hook:?}"))
    }

    fn attach_to_kernel(&mut self, hook: &Hook) -> Result<Vec<OwnedFd>> {
        use bpf_attach_type::{BPF_LSM_MAC, BPF_TRACE_FENTRY, BPF_TRACE_FEXIT};
        use bpf_prog_type::{BPF_PROG_TYPE_LSM, BPF_PROG_TYPE_TRACING};
        let program = match hook {
            Hook::Fentry { function } => {
                load(BPF_PROG_TYPE_TRACING, BPF_TRACE_FENTRY as u32, self.function(function)?)?
            }
            Hook::Fexit { function } => {
                load(BPF_PROG_TYPE_TRACING, BPF_TRACE_FEXIT as u32, self.function(function)?)?
            }
            Hook::Lsm { hook } => {
                let function = self.function(&format!("bpf_lsm_{hook}"))?;
                load(BPF_PROG_TYPE_LSM, BPF_LSM_MAC as u32, function)?
            }
            // A tracepoint; `attach` has handled the others.
            _ => load(bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT, 0, 0)?,
        };
        let name = match hook {
            Hook::Tracepoint { name } => Some(CString::new(name.as_str())?),
            _ => None,
        };
        let mut attributes = zeroed();
        attributes.raw_tracepoint.prog_fd = program.as_raw_fd().cast_unsigned();
        attributes.raw_tracepoint.name = name.as_ref().map_or(0, |name| name.as_ptr() as u64);
        Ok(vec![bpf(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attributes)?, program])
    }

    /// Returns the BTF id of a kernel function.
    fn function(&mut self, name: &str) -> Result<u32> {
        let types = match &mut self.types {
            Some(types) => types,
            none => none.insert(Btf::from_sys_fs()?),
        };
        Ok(types.id_by_type_name_kind(name, BtfKind::Func)?)
    }
}

/// Attaches a program to a function's entry by a perf event (`perf_kprobe_event_init`,
/// kernel/trace/trace_event_perf.c).
fn attach_kprobe(function: &str) -> Result<Vec<OwnedFd>> {
    let program = load(bpf_prog_type::BPF_PROG_TYPE_KPROBE, 0, 0)?;
    let kind = fs::read_to_string("/sys/bus/event_source/devices/kprobe/type")?.trim().parse()?;
    let function = CString::new(function)?;
    // SAFETY: the structure consists of numbers, for which zero is valid.
    let mut event: perf_event_attr = unsafe { std::mem::zeroed() };
    event.type_ = kind;
    event.size = u32::try_from(size_of::<perf_event_attr>())?;
    event.__bindgen_anon_3.config1 = function.as_ptr() as u64;
    let (any_process, first_processor, no_group) = (-1, 0, -1);
    // SAFETY: the kernel reads the structure, no more than `size` bytes, and the name. Both outlive
    // the call.
    let opened = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const event,
            any_process,
            first_processor,
            no_group,
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    let event = descriptor(opened).context("perf_event_open")?;
    for (request, argument) in
        [(PERF_EVENT_IOC_SET_BPF, program.as_raw_fd()), (PERF_EVENT_IOC_ENABLE, 0)]
    {
        // SAFETY: both requests take a number.
        let done = unsafe { libc::ioctl(event.as_raw_fd(), request.into(), argument) };
        if done < 0 {
            return Err(io::Error::last_os_error()).context("the event takes no program");
        }
    }
    Ok(vec![event, program])
}

/// Attaches a program to the entries of several functions (`bpf_kprobe_multi_link_attach`,
/// kernel/trace/bpf_trace.c, since 5.18).
fn attach_kprobe_multi(functions: &[String]) -> Result<Vec<OwnedFd>> {
    let attach = bpf_attach_type::BPF_TRACE_KPROBE_MULTI as u32;
    let program = load(bpf_prog_type::BPF_PROG_TYPE_KPROBE, attach, 0)?;
    let names: Vec<CString> =
        functions.iter().map(|name| CString::new(name.as_str())).collect::<Result<_, _>>()?;
    let pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let mut attributes = zeroed();
    // SAFETY: every field is a number, whose bytes are all zero.
    let several = unsafe { &mut attributes.link_create.__bindgen_anon_3.kprobe_multi };
    several.cnt = u32::try_from(pointers.len())?;
    several.syms = pointers.as_ptr() as u64;
    attach_link(program, attach, attributes)
}

/// Loads many programs. Each needs a file descriptor.
fn load_many(count: u32) -> Result<Vec<OwnedFd>> {
    let limit = Rlimit { current: Some(1 << 20), maximum: Some(1 << 20) };
    setrlimit(Resource::Nofile, limit)?;
    let program = |_| load(bpf_prog_type::BPF_PROG_TYPE_SOCKET_FILTER, 0, 0);
    (0..count).map(program).collect()
}

/// Attaches a program to a network interface. The program lets all packets pass.
fn attach_xdp(interface: u32) -> Result<Vec<OwnedFd>> {
    let attach = bpf_attach_type::BPF_XDP as u32;
    let program = load_returning(bpf_prog_type::BPF_PROG_TYPE_XDP, attach, 0, XDP_PASS)?;
    let mut attributes = zeroed();
    attributes.link_create.__bindgen_anon_2.target_ifindex = interface;
    attach_link(program, attach, attributes)
}

/// Attaches a program by a link. `attributes` has the target.
fn attach_link(program: OwnedFd, attach: u32, mut attributes: bpf_attr) -> Result<Vec<OwnedFd>> {
    attributes.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
    attributes.link_create.attach_type = attach;
    let link = bpf(bpf_cmd::BPF_LINK_CREATE, &mut attributes).context("no link")?;
    Ok(vec![link, program])
}

/// Loads the program `r0 = 0; exit`.
fn load(kind: bpf_prog_type, attach: u32, function: u32) -> Result<OwnedFd> {
    load_returning(kind, attach, function, 0)
}

/// Loads a program that only returns a number.
fn load_returning(
    kind: bpf_prog_type,
    attach: u32,
    function: u32,
    returned: i32,
) -> Result<OwnedFd> {
    let mut code = [instruction(BPF_ALU64 | BPF_MOV | BPF_K), instruction(BPF_JMP | BPF_EXIT)];
    code[0].imm = returned;
    let mut attributes = zeroed();
    {
        // SAFETY: every field is a number, whose bytes are all zero.
        let load = unsafe { &mut attributes.__bindgen_anon_3 };
        load.prog_type = kind as u32;
        load.insn_cnt = u32::try_from(code.len())?;
        load.insns = code.as_mut_ptr() as u64;
        load.license = c"GPL".as_ptr() as u64;
        load.expected_attach_type = attach;
        load.attach_btf_id = function;
    }
    bpf(bpf_cmd::BPF_PROG_LOAD, &mut attributes).context("the kernel takes no such program")
}

fn instruction(code: u32) -> bpf_insn {
    // SAFETY: the structure consists of numbers, for which zero is valid.
    let mut instruction: bpf_insn = unsafe { std::mem::zeroed() };
    instruction.code = u8::try_from(code).unwrap_or_default();
    instruction
}

fn zeroed() -> bpf_attr {
    // SAFETY: the union's members consist of numbers, for which zero is valid.
    unsafe { std::mem::zeroed() }
}

fn bpf(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<OwnedFd> {
    let (attributes, size) = (&raw mut *attributes, size_of::<bpf_attr>());
    // SAFETY: the kernel reads `size` bytes there. The memory they point to belongs to the callers
    // and outlives the call.
    descriptor(unsafe { libc::syscall(libc::SYS_bpf, command as u32, attributes, size) })
}

/// Returns the descriptor that a system call returned, or its error.
fn descriptor(returned: libc::c_long) -> io::Result<OwnedFd> {
    match i32::try_from(returned) {
        // SAFETY: the kernel made the descriptor for this call. It has no other owner.
        Ok(new @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(new) }),
        _ => Err(io::Error::last_os_error()),
    }
}
