//! The coverage of the guard: what it does about each path, and whether the self-test confirmed it.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::outcome::Outcome;
use super::{Policies, Policy, Preset, WritePath};

/// What the guard does about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Covered {
    /// An attempt fails.
    Denied,
    /// The process is killed.
    Killed,
    /// An attempt is only reported.
    Observed,
    /// The guard does nothing, by policy.
    Off,
    /// The guard does nothing, although policy demands an action, or because no program can act.
    Uncovered,
}

impl Covered {
    const ALL: [Self; 5] = [Self::Denied, Self::Killed, Self::Observed, Self::Off, Self::Uncovered];

    /// The word for sentences, for JSON and for the record.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Killed => "killed",
            Self::Observed => "observed",
            Self::Off => "off",
            Self::Uncovered => "uncovered",
        }
    }

    const fn by(policy: Policy) -> Self {
        match policy {
            Policy::Off => Self::Off,
            Policy::Observe => Self::Observed,
            Policy::Deny => Self::Denied,
            Policy::Kill => Self::Killed,
        }
    }
}

impl fmt::Display for Covered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Rows without a path of the guard: number, name, coverage, and reason.
const BEYOND: [(u32, &str, Covered, &str); 3] = [
    (21, "allocator", Covered::Observed, "checked in /proc/iomem every period"),
    (23, "kernel", Covered::Uncovered, "no program can stop node 0's own kernel"),
    (
        24,
        "firmware",
        Covered::Uncovered,
        "no kernel controls SMM, BMC, firmware or the other nodes",
    ),
];

/// One row: a path, what the guard does about it, and whether the self-test confirmed it. The
/// record and `guard self-test --json` have the same fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoverageRow {
    /// The row's number in tables.
    pub row: u32,
    /// The path's name.
    pub path: Cow<'static, str>,
    /// What the guard does about it.
    pub coverage: Covered,
    /// Whether the self-test confirmed it.
    pub seen: bool,
    /// Why the self-test did not confirm it. For a confirmed path: the means, if these are not the
    /// usual ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl CoverageRow {
    /// The row of a path with `policy`, from the outcome of its test.
    pub(super) fn of(path: WritePath, policy: Policy, outcome: Outcome) -> Self {
        let seen = matches!(outcome, Outcome::Seen | Outcome::SeenBy(_));
        let (coverage, reason) = match (outcome, policy) {
            (Outcome::Missing(why), _) => (Covered::Uncovered, Some(why)),
            (Outcome::Off, _) | (_, Policy::Off) => (Covered::Off, Some("by policy".to_owned())),
            (Outcome::NotTried(why), _) => (Covered::by(policy), Some(why.to_owned())),
            (Outcome::SeenBy(what), _) => (Covered::by(policy), Some(format!("by {what}"))),
            (Outcome::Seen, _) => (Covered::by(policy), None),
        };
        Self { row: path.number(), path: path.name().into(), coverage, seen, reason }
    }

    /// The guard's path; `None` for a row without one.
    fn guarded(&self) -> Option<WritePath> {
        self.path.parse().ok()
    }

    /// Whether the guard does not carry out the policy of this path.
    fn is_open(&self) -> bool {
        self.coverage == Covered::Uncovered && self.guarded().is_some()
    }

    /// Whether the guard carries out a policy that it cannot test without harm.
    fn is_untested(&self) -> bool {
        let is_done = !matches!(self.coverage, Covered::Off | Covered::Uncovered);
        is_done && !self.seen && self.guarded().is_some()
    }
}

/// All rows, in the order of their numbers. Empty before the first self-test.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage(Vec<CoverageRow>);

impl Coverage {
    /// The rows of all paths, and the rows without a path.
    #[must_use]
    pub fn of(paths: impl IntoIterator<Item = CoverageRow>) -> Self {
        let beyond = BEYOND.map(|(row, path, coverage, why)| CoverageRow {
            row,
            path: path.into(),
            coverage,
            seen: false,
            reason: Some(why.to_owned()),
        });
        let mut rows: Vec<_> = paths.into_iter().chain(beyond).collect();
        rows.sort_by_key(|row| row.row);
        Self(rows)
    }

    /// All rows.
    #[must_use]
    pub fn rows(&self) -> &[CoverageRow] {
        &self.0
    }

    /// The paths whose policy is not carried out, each with its reason.
    #[must_use]
    pub fn open(&self) -> Vec<String> {
        let sentence = |row: &CoverageRow| {
            format!("{}: {}", row.path, row.reason.as_deref().unwrap_or("unknown"))
        };
        self.0.iter().filter(|row| row.is_open()).map(sentence).collect()
    }

    /// Whether a self-test ran and every path does what its policy says.
    #[must_use]
    pub fn is_as_configured(&self) -> bool {
        !self.0.is_empty() && !self.0.iter().any(CoverageRow::is_open)
    }

    /// Whether the guard denies, kills or reports every write of node 0 that programs can see.
    /// Every path must do what its policy says. Every path that `standard` covers must be on. The
    /// paths that are off in `standard` lead to other paths.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let standard = Policies::of(Preset::Standard);
        let is_given_up = |row: &CoverageRow| {
            let is_usual = |path| standard.get(path) != Policy::Off;
            row.coverage == Covered::Off && row.guarded().is_some_and(is_usual)
        };
        self.is_as_configured() && !self.0.iter().any(is_given_up)
    }

    /// Logs each row that is not in `before`.
    pub(super) fn log(&self, before: &Self) {
        if !log::log_enabled!(log::Level::Debug) {
            return;
        }
        for row in self.0.iter().filter(|row| !before.0.contains(row)) {
            let CoverageRow { path, coverage, seen, reason, .. } = row;
            let seen = if *seen { "seen by the self-test" } else { "not seen by the self-test" };
            let reason = reason.as_deref().unwrap_or("by its own program");
            log::debug!("path {path}: {coverage}, {seen}: {reason}");
        }
    }
}

/// `9 of 20 paths denied (write, …), 2 killed (…), 2 observed (…), 3 off (…), 4 uncovered (…); not
/// tested: …`.
impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |row: &CoverageRow| match &row.reason {
            Some(by) if row.seen => format!("{} {by}", row.path),
            _ => row.path.to_string(),
        };
        for covered in Covered::ALL {
            let rows = self.0.iter().filter(|row| row.coverage == covered);
            let names: Vec<_> = rows.map(name).collect();
            let (count, list) = (names.len(), names.join(", "));
            if covered == Covered::Denied {
                write!(f, "{count} of {} paths denied ({list})", self.0.len())?;
            } else if count > 0 {
                write!(f, ", {count} {covered} ({list})")?;
            }
        }
        let untested = self.0.iter().filter(|row| row.is_untested());
        let untested: Vec<_> = untested.map(|row| row.path.as_ref()).collect();
        if !untested.is_empty() {
            write!(f, "; not tested: {}", untested.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that coverage names open paths with their reason, counts the others, and has every
    /// row.
    #[test]
    fn coverage() {
        let coverage = Coverage::of([
            CoverageRow::of(WritePath::Open, Policy::Deny, Outcome::SeenBy("a door")),
            CoverageRow::of(WritePath::Dma, Policy::Off, Outcome::Off),
            CoverageRow::of(WritePath::Write, Policy::Deny, Outcome::Seen),
            CoverageRow::of(
                WritePath::Mmap,
                Policy::Deny,
                Outcome::Missing("it succeeded".to_owned()),
            ),
            CoverageRow::of(WritePath::Fault, Policy::Kill, Outcome::NotTried("no driver")),
        ]);
        assert_eq!(coverage.open(), ["mmap: it succeeded"]);
        assert_eq!(
            coverage.to_string(),
            "2 of 8 paths denied (open by a door, write), 1 killed (fault), 1 observed \
             (allocator), 1 off (dma), 3 uncovered (mmap, kernel, firmware); not tested: fault"
        );
        let rows = coverage.rows();
        let is_explained = |row: &CoverageRow| row.seen != row.reason.is_some();
        assert!(rows.iter().all(|it| is_explained(it) || it.path == "open"), "{rows:?}");
    }

    /// Check that a guard is not as configured before its first test or with an open path. Check
    /// that it is not whole without a path that `standard` covers, and that rows without a path do
    /// not count.
    #[test]
    fn whole() {
        let judge = |path, policy, outcome| {
            let coverage = Coverage::of([CoverageRow::of(path, policy, outcome)]);
            (coverage.is_as_configured(), coverage.is_whole())
        };
        assert_eq!(judge(WritePath::Mmap, Policy::Deny, Outcome::Seen), (true, true));
        assert_eq!(judge(WritePath::Open, Policy::Off, Outcome::Off), (true, true));
        assert_eq!(judge(WritePath::Mmap, Policy::Off, Outcome::Off), (true, false));
        let open = Outcome::Missing("it succeeded".to_owned());
        assert_eq!(judge(WritePath::Mmap, Policy::Deny, open), (false, false));
        let none = Coverage::default();
        assert!(!none.is_as_configured() && !none.is_whole() && none.open().is_empty());
    }

    /// Check that JSON has the documented words, and that rows of an older build are read
    /// unchanged. Check that an unknown word is refused.
    #[test]
    fn json() {
        for covered in Covered::ALL {
            let word = serde_json::to_string(&covered).unwrap();
            assert_eq!(word, format!("\"{covered}\""));
        }
        let rows = [
            r#"{"row":5,"path":"mmap","coverage":"uncovered","seen":false,"reason":"why"}"#,
            r#"{"row":99,"path":"of another build","coverage":"denied","seen":true}"#,
        ];
        let list = format!("[{}]", rows.join(","));
        let coverage: Coverage = serde_json::from_str(&list).unwrap();
        assert_eq!(coverage.open(), ["mmap: why"]);
        assert_eq!(serde_json::to_string(&coverage).unwrap(), list);
        let unknown = list.replace("denied", "refused");
        assert!(serde_json::from_str::<Coverage>(&unknown).is_err());
    }
}
