//! Causes of instrumented text that are expected on a node.

use std::str::FromStr;

use serde::Deserialize;

use watchdog_core::verify::judge::{Cause, Mechanism};

/// The mechanisms of causes.
const MECHANISMS: [Mechanism; 5] = [
    Mechanism::StaticCall,
    Mechanism::Ftrace,
    Mechanism::Kprobe,
    Mechanism::Bpf,
    Mechanism::Livepatch,
];

/// A cause of instrumented text that is expected on a node, as `scan` shows it: `MECHANISM:NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct AllowedCause(Cause);

impl AllowedCause {
    /// Whether this is the cause: the same mechanism, and exactly the same name.
    #[must_use]
    pub fn is(&self, mechanism: Mechanism, name: &str) -> bool {
        self.0.mechanism == mechanism && self.0.name == name
    }
}

impl FromStr for AllowedCause {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mechanism, name) = text.split_once(':').unwrap_or((text, ""));
        let mechanism = MECHANISMS.into_iter().find(|it| it.name() == mechanism);
        match (mechanism, name.trim()) {
            (Some(mechanism), name) if !name.is_empty() => {
                Ok(Self(Cause { mechanism, name: name.to_owned() }))
            }
            _ => Err(format!(
                "`{text}` is not a cause: give MECHANISM:NAME as `watchdog scan` shows it, with \
                 one of {}",
                MECHANISMS.map(Mechanism::name).join(", ")
            )),
        }
    }
}

impl TryFrom<String> for AllowedCause {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that a cause is read as `scan` prints it, that only the exact name counts, and that
    /// other words are refused.
    #[test]
    fn exact_names() {
        let kvm = "kvm_guest_state [kvm] for __perf_guest_state";
        for text in [format!("static-call:{kvm}"), format!("static-call: {kvm}")] {
            let allowed: AllowedCause = text.parse().unwrap();
            assert!(allowed.is(Mechanism::StaticCall, kvm));
            assert!(!allowed.is(Mechanism::Ftrace, kvm));
            for other in [&kvm[..kvm.len() - 1], &kvm[1..], &format!("{kvm}, x"), ""] {
                assert!(!allowed.is(Mechanism::StaticCall, other), "{other}");
            }
        }
        for wrong in ["", "static-call", "static-call:", "static-call: ", "return:x", kvm] {
            let error = wrong.parse::<AllowedCause>().unwrap_err();
            assert!(error.contains("MECHANISM:NAME"), "{error}");
        }
    }
}
