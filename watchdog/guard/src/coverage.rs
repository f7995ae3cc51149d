//! What the guard covers: each path, what is done about it, and whether that was seen.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::outcome::Outcome;
use super::{Policies, Policy, Preset, WritePath};

/// What the self-test found of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathResult {
    /// The path.
    pub path: WritePath,
    /// What is to be done about it.
    pub policy: Policy,
    /// What became of it.
    pub outcome: Outcome,
}

/// Rows that no program stands in: their names, and what is done about them, or why nothing is.
const BEYOND: [(u32, &str, &str, &str); 3] = [
    (21, "allocator", "observed", "checked in /proc/iomem every period"),
    (23, "kernel", "uncovered", "no program can stop node 0's own kernel"),
    (24, "firmware", "uncovered", "no kernel controls SMM, BMC, firmware or the other nodes"),
];

/// The results of all paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage(pub Vec<PathResult>);

/// One line of the report, for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathReport {
    /// Its row in reports.
    pub row: u32,
    /// Its name.
    pub path: Cow<'static, str>,
    /// `denied`, `killed`, `observed`, `off` or `uncovered`.
    pub coverage: Cow<'static, str>,
    /// Whether that was seen.
    pub seen: bool,
    /// Why it is not, where it is not; else by what, where that is another program than usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl PathReport {
    /// Whether it is of a row that no program stands in.
    #[must_use]
    pub fn is_beyond(&self) -> bool {
        self.path.parse::<WritePath>().is_err()
    }
}

impl Coverage {
    /// The paths whose policy is not carried out, each with its reason.
    #[must_use]
    pub fn open(&self) -> Vec<String> {
        let open = |result: &PathResult| match &result.outcome {
            Outcome::Missing(why) => Some(format!("{}: {why}", result.path)),
            Outcome::Seen | Outcome::SeenBy(_) | Outcome::Off | Outcome::NotTried(_) => None,
        };
        self.0.iter().filter_map(open).collect()
    }

    /// Whether no write of this node can go by unseen, as far as programs can see: no path is open,
    /// and none is off that is not covered by another.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let usual = Policies::of(Preset::Standard);
        let is_off = |result: &PathResult| {
            result.outcome == Outcome::Off && usual.get(result.path) != Policy::Off
        };
        self.open().is_empty() && !self.0.iter().any(is_off)
    }

    /// Logs each path of which something else is known than `before`.
    pub(super) fn log(&self, before: &[PathReport]) {
        if !log::log_enabled!(log::Level::Debug) {
            return;
        }
        for line in self.report().iter().filter(|line| !before.contains(line)) {
            let PathReport { path, coverage, seen, reason, .. } = line;
            let seen = if *seen { "seen by the self-test" } else { "not seen by the self-test" };
            let reason = reason.as_deref().unwrap_or("by its own program");
            log::debug!("path {path}: {coverage}, {seen}: {reason}");
        }
    }

    /// Every path with what is known of it, and those that are out of reach.
    #[must_use]
    pub fn report(&self) -> Vec<PathReport> {
        let to_line = |result: &PathResult| {
            let (coverage, reason) = match (&result.outcome, result.policy) {
                (Outcome::Missing(why), _) => ("uncovered", Some(why.clone())),
                (Outcome::Off, _) | (_, Policy::Off) => ("off", Some("by policy".to_owned())),
                (Outcome::NotTried(why), policy) => (done(policy), Some((*why).to_owned())),
                (Outcome::SeenBy(what), policy) => (done(policy), Some(format!("by {what}"))),
                (Outcome::Seen, policy) => (done(policy), None),
            };
            let seen = matches!(result.outcome, Outcome::Seen | Outcome::SeenBy(_));
            let (row, path) = (result.path.number(), result.path.name());
            PathReport { row, path: path.into(), coverage: coverage.into(), seen, reason }
        };
        let beyond = BEYOND.map(|(row, path, coverage, why)| PathReport {
            row,
            path: path.into(),
            coverage: coverage.into(),
            seen: false,
            reason: Some(why.to_owned()),
        });
        let mut all: Vec<_> = self.0.iter().map(to_line).chain(beyond).collect();
        all.sort_by_key(|line| line.row);
        all
    }
}

/// The word for a policy that is carried out.
const fn done(policy: Policy) -> &'static str {
    match policy {
        Policy::Off => "off",
        Policy::Observe => "observed",
        Policy::Deny => "denied",
        Policy::Kill => "killed",
    }
}

/// `9 of 20 paths denied (write, …), 2 killed (…), 2 observed (…), 3 off (…), 4 uncovered (…); not
/// tried: …`.
impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.report();
        let names = |word: &str| {
            let of_it = report.iter().filter(|line| line.coverage == word);
            let name = |line: &PathReport| match &line.reason {
                Some(by) if line.seen => format!("{} {by}", line.path),
                _ => line.path.to_string(),
            };
            of_it.map(name).collect::<Vec<_>>()
        };
        let denied = names("denied");
        write!(f, "{} of {} paths denied ({})", denied.len(), report.len(), denied.join(", "))?;
        for word in ["killed", "observed", "off", "uncovered"] {
            let names = names(word);
            if !names.is_empty() {
                write!(f, ", {} {word} ({})", names.len(), names.join(", "))?;
            }
        }
        let untried = self.0.iter().filter(|it| matches!(it.outcome, Outcome::NotTried(_)));
        let untried: Vec<_> = untried.map(|result| result.path.name()).collect();
        if !untried.is_empty() {
            write!(f, "; not tested: {}", untried.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that coverage names what is open, with the reason, counts the rest, and leaves nothing
    /// of the table out.
    #[test]
    fn coverage() {
        let result = |path, policy, outcome| PathResult { path, policy, outcome };
        let coverage = Coverage(vec![
            result(WritePath::Open, Policy::Deny, Outcome::SeenBy("a door")),
            result(WritePath::Dma, Policy::Off, Outcome::Off),
            result(WritePath::Write, Policy::Deny, Outcome::Seen),
            result(WritePath::Mmap, Policy::Deny, Outcome::Missing("it succeeded".into())),
            result(WritePath::Fault, Policy::Kill, Outcome::NotTried("no driver")),
        ]);
        assert_eq!(coverage.open(), ["mmap: it succeeded"]);
        assert_eq!(
            coverage.to_string(),
            "2 of 8 paths denied (open by a door, write), 1 killed (fault), 1 observed \
             (allocator), 1 off (dma), 3 uncovered (mmap, kernel, firmware); not tested: fault"
        );
        let report = coverage.report();
        let is_explained = |line: &PathReport| line.seen != line.reason.is_some();
        assert!(report.iter().all(|it| is_explained(it) || it.path == "open"), "{report:?}");
    }

    /// Check that a guard with an open path is not whole, nor one without a path that is usually
    /// taken care of; and that one without those that others cover is.
    #[test]
    fn whole() {
        let is_whole = |path, policy, outcome: &Outcome| {
            Coverage(vec![PathResult { path, policy, outcome: outcome.clone() }]).is_whole()
        };
        assert!(is_whole(WritePath::Mmap, Policy::Deny, &Outcome::Seen));
        assert!(is_whole(WritePath::Open, Policy::Off, &Outcome::Off));
        assert!(!is_whole(WritePath::Mmap, Policy::Off, &Outcome::Off));
        assert!(!is_whole(WritePath::Mmap, Policy::Deny, &Outcome::Missing("it succeeded".into())));
    }
}
