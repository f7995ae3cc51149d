//! The tracers that a kernel has registered, and whether a branch out of its text leads to one.
//!
//! A site of ftrace, a probe or a BPF trampoline may lead anywhere. Its target must therefore be in
//! the kernel's own lists, and the code there must match the kernel's own template. A target that
//! no list contains is not a tracer.

mod bpf;
mod cause;
mod dispatcher;
mod fits;
mod follow;
mod ftrace;
mod kprobes;
mod lists;
mod livepatch;
mod missing;
mod modules;
mod ops;
mod probe;
mod programs;
mod registry;
mod static_call;

pub use cause::Cause;
pub(super) use cause::NoCause;
pub use fits::ListLayouts;
pub(super) use kprobes::{Armed, Probes};
pub(super) use registry::Tracing;
