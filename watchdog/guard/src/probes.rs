//! Harmless acts on paths that have nothing to do with `/dev/mem`: what each would do is undone, or
//! refused by the kernel for another reason behind the hook that is tried.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::ptr;

use super::bpf;
use super::canary::CANARY;

const PORTS: &str = "/dev/port";
const DMA_DEVICE: &str = "/dev/full";
const FTRACE: &str = "/proc/sys/kernel/ftrace_enabled";
/// Starts and stops processors of this node, and on a kernel that knows of none only says so.
const SMT: &str = "/sys/devices/system/cpu/smt/control";
/// `BPF_PROG_TYPE_LSM`, `BPF_PROG_TYPE_TRACING`, `BPF_LSM_MAC`, `BPF_TRACE_FENTRY`.
const BPF_LSM: u32 = 29;
const BPF_TRACING: u32 = 26;
const BPF_LSM_MAC: u32 = 27;
const BPF_TRACE_FENTRY: u32 = 24;
/// A port that is for nothing but to be written by those who wait (0x80, the POST code).
const PORT: libc::c_ulong = 0x80;
/// Flags that no kexec_load has: refused behind the hook (`kexec_load_check()`, kernel/kexec.c).
const NO_FLAGS: libc::c_ulong = 0x4000;
/// Bytes that are no module, as many as are read before the hook (kernel/module/main.c).
const NO_MODULE: [u8; 64] = [0; 64];

/// Path `pci`: opens the ports for writing.
pub(super) fn ports() -> io::Result<()> {
    OpenOptions::new().write(true).open(PORTS).map(drop)
}

/// Path `iommu`: opens what the guard counts as one of those devices when the watchdog does.
pub(super) fn dma_device() -> io::Result<()> {
    File::open(DMA_DEVICE).map(drop)
}

/// Path `module`: loads what is no module.
pub(super) fn module() -> io::Result<()> {
    let (image, bytes) = (NO_MODULE.as_ptr(), NO_MODULE.len());
    // SAFETY: the kernel copies the bytes and the empty parameters.
    checked(unsafe { libc::syscall(libc::SYS_init_module, image, bytes, c"".as_ptr()) })
}

/// Path `kexec-segments`: a kexec of one segment that would lie on the canary page.
pub(super) fn kexec_segment() -> io::Result<()> {
    // `struct kexec_segment`: from where and how much, to where and how much.
    let segment: [u64; 4] = [0, 0, CANARY.start, CANARY.end - CANARY.start];
    kexec(1, segment.as_ptr())
}

/// Path `kexec`: a kexec of nothing.
pub(super) fn kexec_nothing() -> io::Result<()> {
    kexec(0, ptr::null())
}

fn kexec(count: libc::c_ulong, segments: *const u64) -> io::Result<()> {
    // SAFETY: the kernel reads `count` segments, and refuses the flags.
    checked(unsafe { libc::syscall(libc::SYS_kexec_load, 0, count, segments, NO_FLAGS) })
}

/// Path `lockdown`: leave to use one port.
pub(super) fn port() -> io::Result<()> {
    // SAFETY: changes nothing but which ports this thread may use.
    unsafe {
        checked(libc::syscall(libc::SYS_ioperm, PORT, 1, 1))?;
        checked(libc::syscall(libc::SYS_ioperm, PORT, 1, 0))
    }
}

/// Path `bpf`: loads a program without instructions that would answer for security modules.
pub(super) fn bpf_answers() -> io::Result<()> {
    bpf::load_nothing(BPF_LSM, BPF_LSM_MAC)
}

/// Path `bpf-tracing`: one that would trace.
pub(super) fn bpf_traces() -> io::Result<()> {
    bpf::load_nothing(BPF_TRACING, BPF_TRACE_FENTRY)
}

/// Path `processors`: opens what would start a processor that there is none of.
pub(super) fn processor() -> io::Result<()> {
    OpenOptions::new().write(true).open(SMT).map(drop)
}

/// Whether the kernel starts and stops processors at all.
pub(super) fn has_processors() -> bool {
    Path::new(SMT).exists()
}

/// Path `ftrace-enabled`: sets what is set.
pub(super) fn ftrace() -> io::Result<()> {
    let now = fs::read(FTRACE)?;
    OpenOptions::new()
        .write(true)
        .open(FTRACE)
        .and_then(|mut file| io::Write::write_all(&mut file, &now))
}

fn checked(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
