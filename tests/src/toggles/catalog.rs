//! What can be switched, how it changes the text, and which kernel function makes the change.
//!
//! All changes end in `text_poke_bp_batch` (arch/x86/kernel/alternative.c; in 7.2
//! `smp_text_poke_batch_finish`). It writes int3 over the first byte, then the other bytes, then
//! the first byte.

use super::toggle::{How, Mechanism, Place, Shows, TRACING, Toggle};
use crate::service::Hook;

/// The tracefs instance of all toggles, except the tracers for the whole machine. With an instance,
/// each toggle can be switched independently of the others.
pub(super) const INSTANCE: &str = "/sys/kernel/tracing/instances/toggles";
/// A second instance, for a tracer of some functions.
pub(super) const FILTERED: &str = "/sys/kernel/tracing/instances/toggles-filtered";

/// Modules to pack into a node's initramfs. `kvm_amd` (QEMU's `-cpu max` has SVM) registers
/// callbacks with perf. For these, `perf_register_guest_info_callbacks` (kernel/events/core.c)
/// updates static calls of the core kernel. Of the many modules that were tried, only this one
/// changes core text. The others do not change it, but have static keys and tracepoints of their
/// own.
pub const MODULES: [&str; 4] = ["kvm_amd", "loop", "zram", "br_netfilter"];

/// Lists all toggles, whether or not a kernel has them.
pub(super) fn all() -> Vec<Toggle> {
    let parts = [tracers(), events(), keys(), calls(), probes(), programs(), modules()];
    parts.into_iter().flatten().collect()
}

/// Tracers. At the entry of each traced function, a NOP becomes a call to a trampoline outside core
/// text, or to `ftrace_caller`: `ftrace_replace_code` (arch/x86/kernel/ftrace.c). While more than
/// one user is registered, `ftrace_update_ftrace_func` also redirects the call at `ftrace_call`
/// inside `ftrace_caller` and `ftrace_regs_caller`. For `function_graph`, `ftrace_mod_jmp`
/// redirects the jump at `ftrace_graph_call`. When the tracer is off, all bytes are restored.
fn tracers() -> Vec<Toggle> {
    let tracer = |name: &str, instance: &str, functions: &'static str, heavy| {
        let how = How::Tracer { instance: instance.into(), functions };
        Toggle { name: name.into(), mechanism: Mechanism::Ftrace, heavy, how }
    };
    let graph = setting(&format!("{TRACING}/current_tracer"), "function_graph", "nop");
    let stack = setting("/proc/sys/kernel/stack_tracer_enabled", "1", "0");
    vec![
        tracer("function tracer", INSTANCE, "*", true),
        tracer("function tracer of vfs", FILTERED, "vfs_*", false),
        toggle("function_graph tracer", Mechanism::Ftrace, true, graph),
        toggle("stack tracer", Mechanism::Ftrace, true, stack),
    ]
}

/// Trace events. `tracepoint_add_func` (kernel/tracepoint.c) enables the tracepoint's static key
/// (jump labels, `__jump_label_transform`, arch/x86/kernel/jump_label.c). It also redirects the
/// tracepoint's static call to the listener: `__static_call_transform`
/// (arch/x86/kernel/static_call.c) patches the calls and the trampoline `__SCT__tp_func_…`. When
/// the last listener is removed, both are restored. Any event also enables those of `sched` that
/// record command names (`tracing_start_cmdline_record`).
fn events() -> Vec<Toggle> {
    let of = |system: &str| {
        let file = format!("{INSTANCE}/events/{system}/enable");
        toggle(
            &format!("events of {system}"),
            Mechanism::Tracepoint,
            false,
            setting(&file, "1", "0"),
        )
    };
    let file = format!("{TRACING}/events/enable");
    let all = toggle("all events", Mechanism::Tracepoint, true, setting(&file, "1", "0"));
    let systems = ["sched", "kmem", "irq", "timer", "signal", "writeback", "raw_syscalls"];
    systems.into_iter().map(of).chain([all]).collect()
}

/// Static keys. `__jump_label_transform` (arch/x86/kernel/jump_label.c) patches every site that the
/// jump table lists for the key.
fn keys() -> Vec<Toggle> {
    let key = |name: &str, how| toggle(name, Mechanism::JumpLabel, false, how);
    let sysctl = |name: &str, on, off| {
        key(name, setting(&format!("/proc/sys/{}", name.replace('.', "/")), on, off))
    };
    let debug = |files: &str, on, off| {
        key(
            &format!("dynamic debug of {files}"),
            command("/proc/dynamic_debug/control", on, off, Shows::Other),
        )
    };
    let generations =
        |on, off| key(&format!("lru_gen={on}"), setting("/sys/kernel/mm/lru_gen/enabled", on, off));
    let feature =
        |on, off| key(on, command("/sys/kernel/debug/sched/features", on, off, Shows::Words));
    vec![
        // `sched_schedstats`, by `set_schedstats` (kernel/sched/core.c).
        sysctl("kernel.sched_schedstats", "1", "0"),
        // `bpf_stats_enabled_key`, by `bpf_stats_handler` (kernel/bpf/syscall.c).
        sysctl("kernel.bpf_stats_enabled", "1", "0"),
        // `delayacct_key`, by `set_delayacct` (kernel/delayacct.c).
        sysctl("kernel.task_delayacct", "1", "0"),
        // `timers_migration_enabled`, on by default (kernel/time/timer.c).
        sysctl("kernel.timer_migration", "0", "1"),
        // `sched_numa_balancing`, by `set_numabalancing_state` (kernel/sched/core.c).
        sysctl("kernel.numa_balancing", "1", "0"),
        // `vm_numa_stat_key`, on by default (mm/vmstat.c).
        sysctl("vm.numa_stat", "0", "1"),
        // `rps_needed` and `rfs_needed` (net/core/sysctl_net_core.c).
        sysctl("net.core.rps_sock_flow_entries", "32", "0"),
        // `lru_gen_caps`, by `lru_gen_change_state` (mm/vmscan.c); off in 6.1, on in later kernels.
        generations("0x0007", "0x0000"),
        generations("0x0000", "0x0007"),
        // `sched_feat_keys` (kernel/sched/debug.c); in 7.2 HRTICK is on by default.
        feature("NO_TTWU_QUEUE", "TTWU_QUEUE"),
        feature("HRTICK", "NO_HRTICK"),
        feature("NO_HRTICK", "HRTICK"),
        // One key per message, by `ddebug_change` (lib/dynamic_debug.c).
        debug("mm", "file mm/* +p", "file mm/* -p"),
        debug("net", "file net/* +p", "file net/* -p"),
    ]
}

/// Static calls. `sched_dynamic_update` (kernel/sched/core.c) changes thousands of calls of
/// `cond_resched`, `might_resched` and `preempt_schedule`. Each becomes a NOP, the form that
/// returns 0, or a call of the function. In 7.2 the setting only chooses between two static keys.
fn calls() -> Vec<Toggle> {
    let preempt = |on, off| {
        let how = command("/sys/kernel/debug/sched/preempt", on, off, Shows::Choice);
        toggle(&format!("preempt={on} from {off}"), Mechanism::StaticCall, false, how)
    };
    vec![preempt("none", "voluntary"), preempt("full", "voluntary"), preempt("full", "lazy")]
}

/// Kprobes. At a function's entry, and for its return, a kprobe uses ftrace's call:
/// `arm_kprobe_ftrace` (kernel/kprobes.c). Elsewhere it writes an int3: `arch_arm_kprobe`
/// (arch/x86/kernel/kprobes/core.c). If the instructions allow it, `kprobe_optimizer` replaces the
/// int3 a moment later with a jump of five bytes into a buffer: `arch_optimize_kprobes`
/// (arch/x86/kernel/kprobes/opt.c). When the probe is off, the original bytes return; after a jump,
/// that takes the same moment.
fn probes() -> Vec<Toggle> {
    let probe = |name: &str, function, place| {
        let how = How::Probe { instance: INSTANCE.into(), function, place };
        toggle(&format!("{name} {function}"), Mechanism::Kprobe, false, how)
    };
    let optimization = setting("/proc/sys/debug/kprobes-optimization", "0", "1");
    vec![
        probe("kprobe at", "version_proc_show", Place::Entry),
        probe("kprobe at", "do_sys_openat2", Place::Entry),
        probe("kprobe in", "vfs_read", Place::Middle),
        probe("kprobe in", "do_sys_openat2", Place::Middle),
        probe("kprobe in", "meminfo_proc_show", Place::Middle),
        probe("kretprobe of", "version_proc_show", Place::Return),
        probe("kretprobe of", "vfs_write", Place::Return),
        toggle("no optimised kprobes", Mechanism::Kprobe, false, optimization),
    ]
}

/// BPF programs. For `fentry`, `fexit` and LSM hooks, `register_fentry` (kernel/bpf/trampoline.c)
/// makes ftrace call a BPF trampoline directly. In 7.2 ftrace *jumps* there for `fexit` and for
/// hooks. For a hook, the stub `bpf_lsm_…` is patched. Raw tracepoints change text as events do,
/// and kprobes as other kprobes do.
///
/// An XDP program is not one of them. Once it is gone, its dispatcher calls another copy of
/// `bpf_dispatcher_nop_func` than it was linked with (kernel/bpf/dispatcher.c).
fn programs() -> Vec<Toggle> {
    let program = |name: &str, hook| toggle(name, Mechanism::Bpf, false, How::Program(hook));
    let function = |name: &str| String::from(name);
    vec![
        program("fentry of vfs_read", Hook::Fentry { function: function("vfs_read") }),
        program("fexit of vfs_read", Hook::Fexit { function: function("vfs_read") }),
        program("fexit of vfs_open", Hook::Fexit { function: function("vfs_open") }),
        program("LSM file_open", Hook::Lsm { hook: "file_open".into() }),
        program("LSM bprm_check_security", Hook::Lsm { hook: "bprm_check_security".into() }),
        program("BPF on sched_switch", Hook::Tracepoint { name: "sched_switch".into() }),
        program("BPF on sys_enter", Hook::Tracepoint { name: "sys_enter".into() }),
        program("BPF kprobe of vfs_write", Hook::Kprobe { function: function("vfs_write") }),
    ]
}

/// Modules, and the livepatch. `klp_patch_func` (kernel/livepatch/patch.c) makes ftrace call a
/// handler at the entry of the replaced function.
fn modules() -> Vec<Toggle> {
    let module =
        |name| toggle(&format!("module {name}"), Mechanism::Module, false, How::Module(name));
    let livepatch = toggle("livepatch", Mechanism::Livepatch, false, How::Livepatch);
    MODULES.into_iter().map(module).chain([livepatch]).collect()
}

fn toggle(name: &str, mechanism: Mechanism, heavy: bool, how: How) -> Toggle {
    Toggle { name: name.into(), mechanism, heavy, how }
}

fn setting(path: &str, on: &'static str, off: &'static str) -> How {
    How::Setting { path: path.into(), on, off, shows: Shows::Value }
}

/// A setting whose file shows something other than the current value.
fn command(path: &str, on: &'static str, off: &'static str, shows: Shows) -> How {
    How::Setting { path: path.into(), on, off, shows }
}
