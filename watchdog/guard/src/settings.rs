//! What a watch is run with beside the guard's own rules, as the guard's record has it: the next
//! watchdog must not look less often, nor judge by less.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the watch goes by. Files are known by what is in them, not by where they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// From the beginning of one sweep to the next.
    pub period: Duration,
    /// How long a node may boot before it counts as lost.
    pub booting: Duration,
    /// Whose signature baselines must carry: minisign's public key.
    pub baseline_key: Option<String>,
    /// SHA-256 of each vendor's image, by its node and file.
    pub images: BTreeMap<String, String>,
    /// SHA-256 of each baseline on disk, by its node.
    pub baselines: BTreeMap<String, String>,
}

impl Settings {
    /// Whether a watch with these may be followed by one with others: why not.
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

    /// What is judged by something else from now on, a sentence each.
    pub(super) fn changed(&self, new: &Self) -> Vec<String> {
        let mut changed = differing("the vendor's image", &self.images, &new.images);
        changed.extend(differing("the baseline", &self.baselines, &new.baselines));
        changed
    }
}

/// What is gone, or has another content.
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

    /// Check that a watch gives way to none that looks less often or takes baselines that it would
    /// not, and that what it judged by and is no more is named.
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
