//! The programs of all paths, and the paths for which this kernel has no hook.

use std::collections::BTreeMap;

use super::paths::WithoutLsm;
use super::program::{Kind, Program};
use super::{Policies, Policy, WritePath};
use watchdog_core::btf::Btf;

/// A program, and the paths that need it.
#[derive(Debug)]
pub(super) struct PathProgram {
    pub(super) program: &'static Program,
    pub(super) paths: Vec<WritePath>,
}

impl PathProgram {
    /// Whether some policy needs the program.
    pub(super) fn is_needed(&self, policies: &Policies) -> bool {
        self.program.is_always || self.about(policies).next().is_some()
    }

    /// The program's paths whose policy is not `off`.
    fn about<'a>(&'a self, policies: &'a Policies) -> impl Iterator<Item = WritePath> + 'a {
        self.paths.iter().copied().filter(|path| policies.get(*path) != Policy::Off)
    }
}

/// All programs in the order of attaching: by stage, then by path.
pub(super) fn attach_order() -> Vec<PathProgram> {
    let mut all: Vec<PathProgram> = Vec::new();
    for path in WritePath::ALL {
        for program in path.programs() {
            match all.iter_mut().find(|it| std::ptr::eq(it.program, *program)) {
                Some(shared) => shared.paths.push(path),
                None => all.push(PathProgram { program, paths: vec![path] }),
            }
        }
    }
    all.sort_by_key(|it| it.program.stage);
    all
}

/// Paths whose policy is not `off` and for which this kernel has no hook, each with the reason.
/// `no_lsm`: why LSM programs would never fire; `None` if they fire.
pub(super) fn lacking(
    btf: &Btf,
    policies: &Policies,
    no_lsm: Option<&str>,
) -> BTreeMap<WritePath, String> {
    let mut lacking: BTreeMap<WritePath, String> = BTreeMap::new();
    for needed in attach_order().iter().filter(|it| it.is_needed(policies)) {
        let program = needed.program;
        let why = match (program.kind, no_lsm) {
            (Kind::Lsm, Some(why)) => {
                let lost = |path| Some((path, format!("{why}{}", loss(path, policies)?)));
                lacking.extend(needed.about(policies).filter_map(lost));
                continue;
            }
            _ if program.is_optional || !program.fits(btf, no_lsm.is_none()) => continue,
            _ => {
                let structure = |_| program.check_structure(btf).map_err(|why| why.to_string());
                program.function(btf).and_then(structure).err()
            }
        };
        if let Some(why) = why {
            lacking.extend(needed.about(policies).map(|path| (path, why.clone())));
        }
    }
    for (path, why) in &lacking {
        log::debug!("path {path}: uncovered, this kernel has no hook for it: {why}");
    }
    lacking
}

/// What to add to the reason if a path is lost because LSM programs never fire; `None` if the path
/// is not lost.
fn loss(path: WritePath, policies: &Policies) -> Option<&'static str> {
    match path.without_lsm() {
        WithoutLsm::Kept => None,
        WithoutLsm::Unrefused => (policies.get(path) >= Policy::Deny).then_some(""),
        WithoutLsm::Partly(what) => Some(what),
        WithoutLsm::Lost => Some(""),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Preset;
    use crate::program::Stage;

    static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/watchdog-ebpf"));

    /// Check that the paths need exactly the programs of the eBPF object: a program that no path
    /// needs would never be attached.
    #[test]
    fn of_the_object() {
        let object = aya_obj::Object::parse(OBJECT).expect("the eBPF object");
        let built: BTreeSet<_> = object.programs.keys().map(String::as_str).collect();
        let order = attach_order();
        let named: BTreeSet<_> = order.iter().map(|it| it.program.name).collect();
        assert_eq!(named, built);
        assert_eq!(order.len(), named.len(), "two programs have one name");
    }

    /// Check that programs that save come first, and programs that deny loading come last.
    #[test]
    fn order() {
        let order = attach_order();
        let place = |name: &str| {
            let place = order.iter().position(|it| it.program.name == name);
            place.unwrap_or_else(|| panic!("there is no program {name}"))
        };
        let decide = order.iter().position(|it| it.program.stage == Stage::Decide);
        let decide = decide.expect("programs that decide");
        for saves in ["write_position", "reading", "reading_done"] {
            assert!(place(saves) < decide, "{saves}");
        }
        assert!(place("reading") < place("reading_done"));
        let late = order.len() - 2;
        assert!(place("bpf_prog") >= late && place("bpf") >= late);
        assert_eq!(order[place("bpf_prog")].paths.len(), 3);
    }

    /// Check that exactly the paths with LSM programs are lost without them. `open` is not lost,
    /// because the device program denies it. `iommu` is not lost if its policy denies nothing.
    #[test]
    fn without_lsm() {
        let policies = Policies::of(Preset::Strict);
        for path in WritePath::ALL {
            let has_lsm = path.programs().iter().any(|it| it.kind == Kind::Lsm);
            let is_kept = loss(path, &policies).is_none();
            assert_eq!(is_kept, !has_lsm || path == WritePath::Open, "{path}");
        }
        assert_eq!(loss(WritePath::Iommu, &Policies::of(Preset::Standard)), None);
    }
}
