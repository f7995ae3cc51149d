//! How a program handles an access: it denies it, kills the process, or reports it.

use aya_ebpf::helpers::generated::bpf_send_signal;
use watchdog_common::{Range, action, path};

use crate::identity::is_tester;
use crate::rules::{policy, refuses};
use crate::{lease, memory, report};

pub(crate) const EPERM: i32 = 1;
const SIGKILL: u32 = 9;

/// The verdict of an earlier LSM program, if it denied. The kernel requires a value in -4095..=0
/// (6.12).
#[inline(always)]
pub(crate) fn earlier(verdict: i32) -> Option<i32> {
    if verdict == 0 { None } else { Some(-EPERM) }
}

/// The target of an access.
#[derive(Clone, Copy)]
enum Target {
    /// Physical memory. The methods of [`Access`] check whether it is protected or a canary page.
    /// An access to a canary page by the watchdog is a probe.
    Memory(Range),
    /// Physical memory at an unknown address. It counts as protected.
    UnknownMemory,
    /// Memory that the program already found to belong to another node. The self-test has no probe
    /// for it.
    NodeMemory(Range),
    /// A device, a call or a setting. An access by the watchdog is a probe.
    Resource,
    /// An object of the guard. The program already knows that the process is not trusted, or that
    /// not even a trusted process may do this. No access is a probe.
    Guard,
}

/// One access, as far as the program knows it.
#[derive(Clone, Copy)]
pub(crate) struct Access {
    path: u32,
    target: Target,
    detail: u32,
}

/// The means of a program at its hook or function.
#[derive(Clone, Copy)]
enum Means {
    /// Deny, or deny and kill.
    Deny,
    /// Only deny.
    OnlyDeny,
    /// Report, or kill. The access has already happened.
    Report,
    /// Kill, also if policy only denies.
    Kill,
}

impl Access {
    /// An access to physical memory; `None` if the program does not know the range.
    #[inline(always)]
    pub(crate) fn to_memory(path: u32, range: Option<Range>) -> Self {
        let target = match range {
            Some(range) => Target::Memory(range),
            None => Target::UnknownMemory,
        };
        Self { path, target, detail: 0 }
    }

    /// An access to memory for which [`memory::is_protected`] is true. This spares programs that
    /// run for every packet and block the cost of [`Self::to_memory`].
    #[inline(always)]
    pub(crate) fn to_node_memory(path: u32, start: u64, end: u64) -> Self {
        Self { path, target: Target::NodeMemory(Range { start, end }), detail: 0 }
    }

    /// An access to anything but memory.
    #[inline(always)]
    pub(crate) fn to_resource(path: u32, detail: u32) -> Self {
        Self { path, target: Target::Resource, detail }
    }

    /// One of `watchdog_common::self_act`, by a process without the right to do it.
    #[inline(always)]
    pub(crate) fn to_guard(act: u32) -> Self {
        Self { path: path::SELF_PROTECTION, target: Target::Guard, detail: act }
    }

    /// Denies the access, or kills, as policy says. Returns the verdict for an LSM program. A
    /// program should call this at most once, because the verifier follows each call to its end.
    ///
    /// Access to memory is allowed if the rules allow writes there, if the process has a lease, or
    /// if the self-test needs it.
    #[inline(always)]
    pub(crate) fn deny(self) -> i32 {
        let may_be_probe = match self.target {
            Target::Memory(range) => {
                let is_canary = memory::is_canary(&range);
                if !is_canary && is_allowed(&range) {
                    return 0;
                }
                is_canary
            }
            // The watchdog aims at the canary page, and its next try will show that.
            Target::UnknownMemory if is_tester() => return -EPERM,
            Target::Resource => true,
            Target::UnknownMemory | Target::NodeMemory(_) | Target::Guard => false,
        };
        self.apply(may_be_probe, Means::Deny)
    }

    /// Like [`Self::deny`] of a resource, for kinds of programs that may not send signals: they
    /// deny if policy says to kill.
    #[inline(always)]
    pub(crate) fn only_deny(self) -> i32 {
        self.apply(true, Means::OnlyDeny)
    }

    /// Reports an access that has already happened, and kills if policy says so. For functions
    /// without a hook.
    #[inline(always)]
    pub(crate) fn kill_or_report(self) {
        if !self.counts_as_probe() && self.is_guarded() {
            self.apply(false, Means::Report);
        }
    }

    /// Kills if policy denies. Another program should have denied the access, but did not stop it.
    #[inline(always)]
    pub(crate) fn kill(self) {
        if self.is_guarded() {
            self.apply(false, Means::Kill);
        }
    }

    /// Whether the access is a probe of the inner canary page. Counts it if so.
    #[inline(always)]
    pub(crate) fn counts_as_probe(self) -> bool {
        let Target::Memory(range) = self.target else { return false };
        let is_probe = memory::is_inner_canary(&range) && is_tester();
        if is_probe {
            report::count_probe(self.path);
        }
        is_probe
    }

    /// Whether a program behind those that deny has to handle the access. It does not if the memory
    /// belongs to this node, or if the process has a lease.
    #[inline(always)]
    fn is_guarded(self) -> bool {
        match self.target {
            Target::Memory(range) => {
                memory::is_protected(range.start, range.end) && !lease::allows(&range)
            }
            _ => true,
        }
    }

    /// Applies policy and reports the access. If the access `may_be_probe` and the watchdog makes
    /// it, it is counted as a probe and not reported.
    #[inline(always)]
    fn apply(self, may_be_probe: bool, means: Means) -> i32 {
        let Self { path, target, detail } = self;
        let mut done = policy(path);
        if done == action::OFF {
            return 0;
        }
        let verdict = if done == action::OBSERVE { 0 } else { -EPERM };
        if may_be_probe && is_tester() {
            report::count_probe(path);
            return verdict;
        }
        done = match means {
            Means::OnlyDeny => done.min(action::DENY),
            Means::Report if done == action::DENY => action::OBSERVE,
            Means::Kill if done == action::DENY => action::KILL,
            Means::Deny | Means::Report | Means::Kill => done,
        };
        if done == action::KILL {
            // SAFETY: the helper takes a number.
            let failed = unsafe { bpf_send_signal(SIGKILL) } != 0;
            // A kernel thread and process 1 receive no signal.
            done = match means {
                _ if !failed => done,
                Means::Deny | Means::OnlyDeny => action::DENY,
                Means::Report | Means::Kill => action::OBSERVE,
            };
        }
        let range = match target {
            Target::Memory(range) | Target::NodeMemory(range) => range,
            Target::UnknownMemory | Target::Resource | Target::Guard => Range::EMPTY,
        };
        report::attempt(path, range, done, detail);
        verdict
    }
}

/// Whether the current process may write the whole range.
#[inline(always)]
fn is_allowed(range: &Range) -> bool {
    // If policy denies opening `/dev/mem` for writing, only a lease allowed the open.
    let is_left = memory::is_writable(range) && (!refuses(path::OPEN) || lease::allows_to_begin());
    is_left || lease::allows(range) || (memory::is_for_tests(range) && is_tester())
}
