//! BPF programs that do nothing, by bpf(2). They exist so that the kernel rewrites its own text to
//! call them.

mod load;
mod network;
mod tcp_congestion;
mod types;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail};
use aya::Ebpf;
use aya_obj::generated::{
    PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_SET_BPF, PERF_FLAG_FD_CLOEXEC, bpf_attach_type, bpf_attr,
    bpf_cmd, bpf_prog_type, perf_event_attr,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use watchdog_tests::{btf::Btf, service::Hook};

use load::{Program, bpf, descriptor, zeroed};

/// The attached programs. Dropping one detaches it, except for a [`Hook::TcpCongestion`].
#[derive(Default)]
pub(crate) struct Programs {
    attached: BTreeMap<Hook, Attached>,
    /// The kernel's BTF, read only once: that takes a second under emulation.
    types: Option<Btf>,
}

/// What keeps a program attached.
enum Attached {
    /// Links, events and programs.
    Descriptors(Vec<OwnedFd>),
    /// A program that aya attached.
    ByAya { _programs: Ebpf },
}

impl Programs {
    /// Attaches a program to a hook.
    pub(crate) fn attach(&mut self, hook: Hook) -> Result<()> {
        let by_aya = |_programs| Attached::ByAya { _programs };
        let attached = match &hook {
            Hook::Clsact { interface } => network::attach_to_clsact(interface).map(by_aya),
            Hook::Tcx { interface } => network::attach_to_tcx(interface).map(by_aya),
            _ => self.attach_by_descriptors(&hook).map(Attached::Descriptors),
        };
        let attached = attached.with_context(|| format!("cannot attach to {hook:?}"))?;
        self.attached.insert(hook, attached);
        Ok(())
    }

    fn attach_by_descriptors(&mut self, hook: &Hook) -> Result<Vec<OwnedFd>> {
        match hook {
            Hook::Kprobe { function } => attach_kprobe(function),
            Hook::KprobeMulti { functions } => attach_kprobe_multi(functions),
            Hook::Unattached { count } => load_many(*count),
            Hook::Xdp { interface } => network::attach_xdp(*interface),
            Hook::Extension { interface } => {
                let Some(Attached::Descriptors(target)) =
                    self.attached.get(&Hook::Xdp { interface: *interface })
                else {
                    bail!("no XDP program is attached there")
                };
                network::extend_xdp(target.last().context("no program")?)
            }
            Hook::TcpCongestion { name } => tcp_congestion::register(name, self.types()?),
            _ => self.attach_to_kernel(hook),
        }
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
                let program = Program::new(BPF_PROG_TYPE_TRACING).attach(BPF_TRACE_FENTRY as u32);
                program.target(self.function(function)?).load()?
            }
            Hook::Fexit { function } => {
                let program = Program::new(BPF_PROG_TYPE_TRACING).attach(BPF_TRACE_FEXIT as u32);
                program.target(self.function(function)?).load()?
            }
            Hook::Lsm { hook } => {
                let function = self.function(&format!("bpf_lsm_{hook}"))?;
                let program = Program::new(BPF_PROG_TYPE_LSM).attach(BPF_LSM_MAC as u32);
                program.target(function).load()?
            }
            // A tracepoint; `attach` has handled the others.
            _ => Program::new(bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT).load()?,
        };
        let name = match hook {
            Hook::Tracepoint { name } => Some(CString::new(name.as_str())?),
            _ => None,
        };
        attach_tracing(program, name)
    }

    /// Returns the BTF id of a kernel function.
    fn function(&mut self, name: &str) -> Result<u32> {
        self.types()?.function(name).with_context(|| format!("no function {name}"))
    }

    /// Returns the kernel's type information.
    fn types(&mut self) -> Result<&Btf> {
        match &mut self.types {
            Some(types) => Ok(types),
            none => Ok(none.insert(Btf::parse(fs::read("/sys/kernel/btf/vmlinux")?)?)),
        }
    }
}

/// Attaches a program to a tracepoint, or without a name to the function that it was loaded for.
fn attach_tracing(program: OwnedFd, name: Option<CString>) -> Result<Vec<OwnedFd>> {
    let mut attributes = zeroed();
    attributes.raw_tracepoint.prog_fd = program.as_raw_fd().cast_unsigned();
    attributes.raw_tracepoint.name = name.as_ref().map_or(0, |name| name.as_ptr() as u64);
    Ok(vec![bpf(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attributes)?, program])
}

/// Attaches a program to a function's entry by a perf event (`perf_kprobe_event_init`,
/// kernel/trace/trace_event_perf.c).
fn attach_kprobe(function: &str) -> Result<Vec<OwnedFd>> {
    let program = Program::new(bpf_prog_type::BPF_PROG_TYPE_KPROBE).load()?;
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
    let program = Program::new(bpf_prog_type::BPF_PROG_TYPE_KPROBE).attach(attach).load()?;
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
    let program = Program::new(bpf_prog_type::BPF_PROG_TYPE_SOCKET_FILTER);
    (0..count).map(|_| program.load()).collect()
}

/// Attaches a program by a link. `attributes` has the target.
fn attach_link(program: OwnedFd, attach: u32, mut attributes: bpf_attr) -> Result<Vec<OwnedFd>> {
    attributes.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
    attributes.link_create.attach_type = attach;
    let link = bpf(bpf_cmd::BPF_LINK_CREATE, &mut attributes).context("no link")?;
    Ok(vec![link, program])
}
