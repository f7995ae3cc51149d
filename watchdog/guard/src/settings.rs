//! The settings of a watch beside the guard's own rules, as the guard's record stores them. The
//! next watchdog must not sweep less often, and must not accept baselines that this watch would
//! refuse.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The settings of a watch. Images and baselines are identified by their content, not by their
/// path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The time from the beginning of one sweep to the next.
    pub period: Duration,
    /// How long a node may boot before it counts as lost.
    pub booting: Duration,
    /// The key that must have signed the baselines: minisign's public key.
    pub baseline_key: Option<String>,
    /// SHA-256 of each vendor's image, by its node and file.
    pub images: BTreeMap<String, String>,
    /// SHA-256 of each baseline on disk, by its node.
    pub baselines: BTreeMap<String, String>,
}

impl Settings {
    /// Whether a watch with these settings may be followed by one with the settings `new`. If not,
    /// the error says why.
    pub(super) fn yields_to(&self, new: &Self) -> Result<(), String> {
        for (what, old, now) in [
            ("a sweep begins", self.period, new.period),
            ("a node that boots counts as lost", self.booting, new.booting),
        ] {
            if now > old {
                return Err(format!("{what} after {old:?}; with the new one after {now:?}"));
            }
        }
        match (&self.baseline_key, &new.baseline_key) {
            (Some(_), None) => {
                Err("the guard in force requires signed baselines; the new one would accept any"
                    .to_owned())
            }
            (Some(old), Some(now)) if old != now => {
                Err("the new one would accept baselines signed by another key".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// The images and baselines that are missing or different in `new`, one sentence each.
    pub(super) fn changed(&self, new: &Self) -> Vec<String> {
        let mut changed = differing("the vendor's image", &self.images, &new.images);
        changed.extend(differing("the baseline", &self.baselines, &new.baselines));
        changed
    }
}

/// The entries of `old` that are missing in `new`, or have another digest there.
fn differing(
    what: &str,
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
) -> Vec<String> {
    let difference = |(name, digest): (&String, &String)| match new.get(name) {
        None => Some(format!("{what} of {name} is gone")),
        Some(now) if now != digest => Some(format!("{what} of {name} has changed")),
        Some(_) => None,
    };
    old.iter().filter_map(difference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that a watch does not give way to one that sweeps less often or accepts other
    /// baselines. Check that missing and changed images and baselines are named.
    #[test]
    fn never_less() {
        let files = |name: &str, digest: &str| [(name.to_owned(), digest.to_owned())].into();
        let now = Settings {
            period: Duration::from_secs(1),
            booting: Duration::from_secs(120),
            baseline_key: Some("RWa".to_owned()),
            images: files("web: vmlinuz", "1"),
            baselines: files("web", "2"),
        };
        assert_eq!(now.yields_to(&now), Ok(()));
        assert!(now.changed(&now).is_empty());
        let slow = Settings { period: Duration::from_secs(3600), ..now.clone() };
        assert!(now.yields_to(&slow).unwrap_err().contains("after 3600s"));
        assert_eq!(slow.yields_to(&now), Ok(()));
        for key in [None, Some("RWb".to_owned())] {
            assert!(now.yields_to(&Settings { baseline_key: key, ..now.clone() }).is_err());
        }
        let bare =
            Settings { images: BTreeMap::new(), baselines: files("web", "3"), ..now.clone() };
        let changed = now.changed(&bare);
        assert!(changed[0].contains("image of web: vmlinuz is gone"), "{changed:?}");
        assert!(changed[1].contains("baseline of web has changed"), "{changed:?}");
        assert!(bare.changed(&now).len() == 1);
    }
}
