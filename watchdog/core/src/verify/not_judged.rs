//! What a kernel may rewrite, and this version of the watchdog cannot judge.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::judge::Mechanism;

/// Sites that are not judged, for one reason. They count neither as explained nor as tampering.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NotJudged {
    /// The mechanism, or the name of a patch table that no rule knows.
    pub mechanism: String,
    /// Number of sites; 0 if the sites are not known.
    pub sites: u32,
    /// Why they are not judged, as a sentence without its full stop.
    pub why: String,
}

impl fmt::Display for NotJudged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mechanism, sites, why } = self;
        match sites {
            0 => write!(f, "{mechanism}: {why}"),
            1 => write!(f, "{mechanism}, 1 site: {why}"),
            _ => write!(f, "{mechanism}, {sites} sites: {why}"),
        }
    }
}

/// Number of sites that are not judged, by mechanism and reason.
pub(super) type Counts = BTreeMap<(Mechanism, &'static str), u32>;

/// The list of what is not judged: what the reference `knows`, and the `counts` of a sweep.
pub(super) fn list(knows: &[NotJudged], counts: &Counts) -> Vec<NotJudged> {
    let counted = counts.iter().map(|((mechanism, why), sites)| NotJudged {
        mechanism: mechanism.to_string(),
        sites: *sites,
        why: (*why).to_owned(),
    });
    knows.iter().cloned().chain(counted).collect()
}
