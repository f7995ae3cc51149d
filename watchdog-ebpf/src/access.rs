//! What a program does about an access: deny it, kill the process, or report it.

use aya_ebpf::helpers::generated::bpf_send_signal;
use watchdog_common::{Range, action, path};

use crate::identity::is_tester;
use crate::rules::{policy, refuses};
use crate::{lease, memory, report};

pub(crate) const EPERM: i32 = 1;
const SIGKILL: u32 = 9;

/// The verdict of an earlier LSM program stands. The kernel wants one in -4095..=0 (6.12).
#[inline(always)]
pub(crate) fn earlier(verdict: i32) -> Option<i32> {
    if verdict == 0 { None } else { Some(-EPERM) }
}

/// What an access reaches.
#[derive(Clone, Copy)]
enum Target {
    /// Physical memory. The verb finds out whether it is protected, or a canary page, where an
    /// access by the watchdog is a probe.
    Memory(Range),
    /// Physical memory that the program cannot tell. It counts as protected.
    UnknownMemory,
    /// Memory of another node, as the program found already. The self-test has no probe for it.
    NodeMemory(Range),
    /// A device, a call, a setting. An access by the watchdog is a probe.
    Resource,
    /// What belongs to the guard. The program knows already that the process is not trusted, or
    /// that not even a trusted one may do this. No access is a probe.
    Guard,
}

/// One access, of which the program that sees it knows this much.
#[derive(Clone, Copy)]
pub(crate) struct Access {
    path: u32,
    target: Target,
    detail: u32,
}

/// What a program can do by itself.
#[derive(Clone, Copy)]
enum Means {
    /// Deny, or kill.
    Deny,
    /// Deny and nothing else.
    OnlyDeny,
    /// Report, or kill: it has happened already.
    Report,
    /// Kill where it is to be denied.
    Kill,
}

impl Access {
    /// An access to physical memory; `None` where the program cannot tell to which.
    #[inline(always)]
    pub(crate) fn to_memory(path: u32, range: Option<Range>) -> Self {
        let target = match range {
            Some(range) => Target::Memory(range),
            None => Target::UnknownMemory,
        };
        Self { path, target, detail: 0 }
    }

    /// An access to memory that [`memory::is_protected`]. It spares programs that run for every
    /// packet and block all that [`Self::to_memory`] needs.
    #[inline(always)]
    pub(crate) fn to_node_memory(path: u32, start: u64, end: u64) -> Self {
        Self { path, target: Target::NodeMemory(Range { start, end }), detail: 0 }
    }

    /// An access to anything but memory.
    #[inline(always)]
    pub(crate) fn to_resource(path: u32, detail: u32) -> Self {
        Self { path, target: Target::Resource, detail }
    }

    /// One of `watchdog_common::self_act`, by a process that may not do it.
    #[inline(always)]
    pub(crate) fn to_guard(act: u32) -> Self {
        Self { path: path::SELF_PROTECTION, target: Target::Guard, detail: act }
    }

    /// Denies it where policy says so, and kills where policy says that. Returns the verdict of an
    /// LSM program. At most one call a program: the verifier follows each to its end.
    ///
    /// Memory is denied but where the rules let it be written, where the process has a lease, and
    /// where the self-test needs it.
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
            // The watchdog aims at the canary page, as its next try will show.
            Target::UnknownMemory if is_tester() => return -EPERM,
            Target::Resource => true,
            Target::UnknownMemory | Target::NodeMemory(_) | Target::Guard => false,
        };
        self.apply(may_be_probe, Means::Deny)
    }

    /// As [`Self::deny`] of a resource, for kinds of programs that may send no signal: they deny
    /// where policy says to kill.
    #[inline(always)]
    pub(crate) fn only_deny(self) -> i32 {
        self.apply(true, Means::OnlyDeny)
    }

    /// Reports what has happened already, and kills where policy says so. For functions that have
    /// no hook.
    #[inline(always)]
    pub(crate) fn kill_or_report(self) {
        if !self.counts_as_probe() && self.is_guarded() {
            self.apply(false, Means::Report);
        }
    }

    /// Kills where policy denies: another program denies it, and it got through all the same.
    #[inline(always)]
    pub(crate) fn kill(self) {
        if self.is_guarded() {
            self.apply(false, Means::Kill);
        }
    }

    /// Whether it is a probe at the inner canary page. If so, it is counted.
    #[inline(always)]
    pub(crate) fn counts_as_probe(self) -> bool {
        let Target::Memory(range) = self.target else { return false };
        let is_probe = memory::is_inner_canary(&range) && is_tester();
        if is_probe {
            report::count_probe(self.path);
        }
        is_probe
    }

    /// Whether it matters to a program behind those that deny: not where memory is this node's, or
    /// the process has a lease.
    #[inline(always)]
    fn is_guarded(self) -> bool {
        match self.target {
            Target::Memory(range) => {
                memory::is_protected(range.start, range.end) && !lease::allows(&range)
            }
            _ => true,
        }
    }

    /// Does what policy says, and reports it. Where it `may_be_probe`, an access by the watchdog is
    /// one, which is counted and not reported.
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
            // No signal can be sent to a kernel thread or to process 1.
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

/// Whether the current process may write all of a range.
#[inline(always)]
fn is_allowed(range: &Range) -> bool {
    // Where `/dev/mem` may not be opened for writing, only a lease opened it.
    let is_left = memory::is_writable(range) && (!refuses(path::OPEN) || lease::allows_to_begin());
    is_left || lease::allows(range) || (memory::is_for_tests(range) && is_tester())
}
