//! Path `hotplug`: memory becomes RAM of this node.

use super::attempt_detail;
use super::guard_path::{GuardPath, Leaves, Means, Target, WithoutLsm};
use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::program::{Kind, Program};

static ADD_MEMORY: Program =
    Program::new("add_memory", Kind::Entry, &[("add_memory_resource", 3)]).last();

static ONLINE_PAGES: Program =
    Program::new("online_pages", Kind::Entry, &[("online_pages", 4)]).last();

pub(super) const PATH: GuardPath = GuardPath {
    name: "hotplug",
    means: Means::See,
    standard: Policy::Observe,
    strict: Policy::Observe,
    summary: "it becomes RAM of node 0",
    deed: Some("added memory as RAM of node 0"),
    target: Target::Memory,
    leaves: Leaves::Access,
    without_lsm: WithoutLsm::Kept,
    programs: &[&ADD_MEMORY, &ONLINE_PAGES],
    detail: attempt_detail::none,
    test: |_| Outcome::NotTried("it cannot be undone"),
};
