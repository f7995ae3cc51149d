//! Memory that node 0's kernel lends to another kernel out of its own RAM.
//!
//! Linux keeps a range for a crash kernel (`crashk_res`, kernel/crash_core.c, 6.12). The
//! multikernel patches of 2025 keep a pool, and give a part of it to each instance. `/proc/iomem`
//! names both. Node 0's kernel still owns this memory and may write to it, so no guard can cover
//! it.

use std::collections::BTreeMap;
use std::fmt;

use super::{PhysRange, RangeSet};
use crate::text::printable;

/// A range that node 0 lends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lent {
    /// The range.
    pub range: PhysRange,
    /// Its user.
    pub to: LentTo,
}

/// The user of lent memory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LentTo {
    /// An instance of the multikernel pool: `mk-instance-ID-NAME-region-N`.
    Instance {
        /// Its number.
        id: u64,
        /// Its name, which may hold anything that fits on a line.
        name: String,
    },
    /// The multikernel pool itself: `Multikernel Memory Pool`.
    Pool,
    /// The kernel that starts when this one crashes: `Crash kernel`.
    CrashKernel,
}

impl LentTo {
    /// The user by the name of a resource; `None` if that memory is not lent.
    pub(super) fn by_name(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("crash kernel") {
            return Some(Self::CrashKernel);
        }
        if name.eq_ignore_ascii_case("multikernel memory pool") {
            return Some(Self::Pool);
        }
        let (instance, region) = name.strip_prefix("mk-instance-")?.rsplit_once("-region-")?;
        let (id, name) = instance.split_once('-')?;
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let id = id.parse().ok().filter(|_| is_number(id) && is_number(region))?;
        Some(Self::Instance { id, name: name.to_owned() })
    }

    /// A name for a node in this memory. Only characters that every node's name may have.
    #[must_use]
    pub fn node_name(&self) -> String {
        match self {
            Self::CrashKernel => "crash".to_owned(),
            Self::Pool => "pool".to_owned(),
            Self::Instance { id, name } => {
                let is_usable = |it: char| it.is_ascii_alphanumeric() || it == '-' || it == '_';
                let starts_well = name.starts_with(|it: char| it.is_ascii_alphanumeric());
                if starts_well && name.len() <= 32 && name.chars().all(is_usable) {
                    return name.clone();
                }
                format!("instance-{id}")
            }
        }
    }
}

impl fmt::Display for LentTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instance { id, name } => {
                let name = printable(name.as_bytes(), 32);
                write!(f, "instance {id} of the multikernel pool, `{name}`")
            }
            Self::Pool => f.write_str("the multikernel pool"),
            Self::CrashKernel => f.write_str("the crash kernel"),
        }
    }
}

/// The instances in lent memory, each with all of its ranges.
#[must_use]
pub fn instances(lent: &[Lent]) -> BTreeMap<LentTo, RangeSet> {
    let mut all: BTreeMap<LentTo, RangeSet> = BTreeMap::new();
    for Lent { range, to } in lent {
        if matches!(to, LentTo::Instance { .. }) {
            all.entry(to.clone()).or_default().insert(*range);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that the names of lent memory are understood, with hyphens in an instance's name, and
    /// that similar names are not. Check that a node's name has no special characters.
    #[test]
    fn names() {
        let to = |name: &str| LentTo::by_name(name).map(|it| it.node_name());
        assert_eq!(to("mk-instance-1-web-region-0").as_deref(), Some("web"));
        assert_eq!(to("mk-instance-12-db-2-region-13").as_deref(), Some("db-2"));
        assert_eq!(to("mk-instance-3-a/b-region-0").as_deref(), Some("instance-3"));
        assert_eq!(to("mk-instance-4--region-0").as_deref(), Some("instance-4"));
        assert_eq!(to("Multikernel Memory Pool").as_deref(), Some("pool"));
        assert_eq!(to("Crash kernel").as_deref(), Some("crash"));
        for other in ["mk-instance-x-web-region-0", "mk-instance-1-web", "Kernel code", "Crash"] {
            assert_eq!(to(other), None, "{other}");
        }
    }
}
