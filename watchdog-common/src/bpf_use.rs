//! Why the guard refuses a BPF program: the detail of an attempt on [`BPF`](crate::path::BPF) or
//! [`TRACING`](crate::path::TRACING), and the values in the tables of program types and attach
//! types of [`Rules`](crate::Rules).

/// Nothing: the guard allows it.
pub const NONE: u32 = 0;
/// It replaces what a kernel function returns (`BPF_MODIFY_RETURN`).
pub const MODIFY_RETURN: u32 = 1;
/// It answers for security modules (`BPF_PROG_TYPE_LSM`).
pub const LSM: u32 = 2;
/// It replaces part of another program (`BPF_PROG_TYPE_EXT`).
pub const EXTENSION: u32 = 3;
/// It answers for settings, `kernel.ftrace_enabled` among them.
pub const SETTINGS: u32 = 4;
/// It schedules processes (`sched_ext`).
pub const SCHEDULER: u32 = 5;
/// It redirects traffic of Unix sockets, the watchdog's events among it.
pub const SOCKETS: u32 = 6;
/// It calls a helper that sends signals, writes a process's memory or answers system calls.
pub const HELPER: u32 = 7;
/// It changes a process's registers at a uprobe (6.18).
pub const REGISTERS: u32 = 8;
/// It traces. This is the only use on the path [`TRACING`](crate::path::TRACING).
pub const TRACING: u32 = 9;
