//! Path `self`: the guard and the watchdog, with their kernel objects, files and process.

use watchdog_common::self_act;

use super::attempt_detail::AttemptDetail;
use super::guard_path::{GuardPath, Leaves, Means, Target, WithoutLsm};
use super::open::FILE_OPEN;
use super::test_context::TestContext;
use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::program::{Kind, Program};
use crate::self_probes::SelfProbes;

/// Judges descriptors of BPF programs.
pub(super) static BPF_PROG: Program =
    Program::new("bpf_prog", Kind::Lsm, &[("bpf_lsm_bpf_prog", 1)]).late();

/// Most programs of this path have an LSM hook of their own, and no other path needs them.
static PROGRAMS: [&Program; 30] = [
    &FILE_OPEN,
    &BPF_PROG,
    &Program::new("bpf_map", Kind::Lsm, &[("bpf_lsm_bpf_map", 2)]),
    &Program::new("inode_unlink", Kind::Lsm, &[("bpf_lsm_inode_unlink", 2)]),
    &Program::new("inode_rename", Kind::Lsm, &[("bpf_lsm_inode_rename", 4)]),
    &Program::new("inode_create", Kind::Lsm, &[("bpf_lsm_inode_create", 3)]),
    &Program::new("inode_mkdir", Kind::Lsm, &[("bpf_lsm_inode_mkdir", 3)]),
    &Program::new("inode_symlink", Kind::Lsm, &[("bpf_lsm_inode_symlink", 3)]),
    &Program::new("inode_link", Kind::Lsm, &[("bpf_lsm_inode_link", 3)]),
    &Program::new("path_mknod", Kind::Lsm, &[("bpf_lsm_path_mknod", 4)]),
    &Program::new("inode_setattr", Kind::Lsm, &[("bpf_lsm_inode_setattr", 3)])
        .within("bpf_lsm_inode_setattr", 2),
    &Program::new("inode_setattr_before", Kind::Lsm, &[("bpf_lsm_inode_setattr", 2)])
        .within("bpf_lsm_inode_setattr", 3),
    &Program::new("inode_setxattr", Kind::Lsm, &[("bpf_lsm_inode_setxattr", 6)]),
    &Program::new("inode_set_acl", Kind::Lsm, &[("bpf_lsm_inode_set_acl", 4)]).optional(),
    &Program::new("sb_umount", Kind::Lsm, &[("bpf_lsm_sb_umount", 2)]),
    &Program::new("sb_mount", Kind::Lsm, &[("bpf_lsm_sb_mount", 5)]),
    &Program::new("move_mount", Kind::Lsm, &[("bpf_lsm_move_mount", 2)]),
    &Program::new("sb_pivotroot", Kind::Lsm, &[("bpf_lsm_sb_pivotroot", 2)]),
    &Program::new("task_kill", Kind::Lsm, &[("bpf_lsm_task_kill", 4)]),
    &Program::new("file_send_sigiotask", Kind::Lsm, &[("bpf_lsm_file_send_sigiotask", 3)]),
    &Program::new("ptrace_access_check", Kind::Lsm, &[("bpf_lsm_ptrace_access_check", 2)]),
    &Program::new("bprm_check_security", Kind::Lsm, &[("bpf_lsm_bprm_check_security", 1)]),
    &Program::new("task_setrlimit", Kind::Lsm, &[("bpf_lsm_task_setrlimit", 3)]),
    &Program::new("task_setscheduler", Kind::Lsm, &[("bpf_lsm_task_setscheduler", 1)]),
    &Program::new("task_setnice", Kind::Lsm, &[("bpf_lsm_task_setnice", 2)]),
    &Program::new("task_setioprio", Kind::Lsm, &[("bpf_lsm_task_setioprio", 2)]),
    &Program::new("perf_event_alloc", Kind::Lsm, &[("bpf_lsm_perf_event_alloc", 1)]),
    &Program::new("unix_may_send", Kind::Lsm, &[("bpf_lsm_unix_may_send", 2)]),
    &Program::new("bprm_committing_creds", Kind::Lsm, &[("bpf_lsm_bprm_committing_creds", 1)]),
    &Program::new("breakpoint", Kind::Entry, &[("set_swbp", 3)]).last().optional(),
];

pub(super) const PATH: GuardPath = GuardPath {
    name: "self",
    means: Means::Refuse,
    standard: Policy::Deny,
    strict: Policy::Deny,
    summary: "the guard and the watchdog",
    deed: Some("tried to interfere with the guard"),
    target: Target::Guard,
    leaves: Leaves::Nothing,
    without_lsm: WithoutLsm::Lost,
    programs: &PROGRAMS,
    detail,
    test,
};

/// What was done to the guard or the watchdog, in a few words.
fn detail(detail: &AttemptDetail<'_>) -> Option<String> {
    let act = match detail.number {
        self_act::MAP => "opening a table",
        self_act::PROGRAM => "opening a program",
        self_act::UNLINK => "removing a file",
        self_act::RENAME => "renaming a file",
        self_act::CREATE => "creating a file",
        self_act::TRUNCATE => "truncating a file",
        self_act::OPEN => "writing a file",
        self_act::UNMOUNT => "unmounting the guard's pins",
        self_act::SIGNAL => "sending a signal",
        self_act::TRACE => "tracing the watchdog",
        self_act::LIMIT => "changing the watchdog's limits",
        self_act::CGROUP => "changing the watchdog's control group",
        self_act::MOUNT => "mounting over its files, or moving a mount",
        self_act::MODE => "changing a file's mode or owner",
        self_act::PROC => "opening the watchdog's files below /proc",
        _ => return None,
    };
    Some(act.to_owned())
}

/// Tests that the guard refuses each of several attempts.
fn test(context: &dyn TestContext) -> Outcome {
    for (name, act) in SelfProbes::ALL {
        let outcome = context.attempt_refused(&|| act(context.self_probes()));
        if let Outcome::Missing(why) = outcome {
            return Outcome::Missing(format!("{name}: {why}"));
        }
    }
    Outcome::Seen
}
