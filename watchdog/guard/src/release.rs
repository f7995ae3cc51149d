//! Rules for taking the guard down.

use std::fmt;
use std::str::FromStr;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2};
use serde::{Deserialize, Serialize};

use super::processes::Processes;

/// The rule for taking the guard down. The watchdog's own executable is always needed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Release {
    /// Root may, from anywhere.
    Root,
    /// Root may, on a console of the machine: a virtual terminal or a serial line, not the network.
    #[default]
    Console,
    /// Root may, with the secret of this hash (Argon2, as a PHC string).
    Secret(String),
    /// No process may: the guard stays until the machine restarts.
    Sealed,
}

impl FromStr for Release {
    type Err = String;

    /// Reads the value of the configuration's key `disarm`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "root" => Ok(Self::Root),
            "console" => Ok(Self::Console),
            "never" => Ok(Self::Sealed),
            hash if hash.starts_with('$') => {
                check_hash(hash)?;
                Ok(Self::Secret(hash.to_owned()))
            }
            // The text is not repeated: it may be a secret in place of its hash.
            _ => Err("write `console`, `root`, `never`, or the hash of a secret (`watchdog guard \
                      secret`)"
                .to_owned()),
        }
    }
}

/// Why the guard is not taken down.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refusal {
    /// This process is not on a console.
    #[error(
        "the guard can be taken down only from a console of this machine: a virtual terminal \
         (tty1) or a serial line, not over the network or by a script"
    )]
    NotOnConsole,
    /// The secret is wrong.
    #[error("this is not the secret that takes the guard down")]
    WrongSecret,
    /// No secret was given.
    #[error(
        "taking the guard down needs a secret: type the secret at the prompt, or use --secret-file \
         FILE"
    )]
    NoSecret,
    /// The guard is sealed.
    #[error("the guard is sealed (`disarm = \"never\"`): it stays until this machine restarts")]
    Sealed,
}

impl Release {
    /// Whether a guard with this rule may be replaced by one with the rule `new`.
    pub(super) fn yields_to(&self, new: &Self) -> bool {
        match (self, new) {
            (Self::Secret(old), Self::Secret(new)) => old == new,
            (old, new) => old.strictness() <= new.strictness(),
        }
    }

    const fn strictness(&self) -> u8 {
        match self {
            Self::Root => 0,
            Self::Console => 1,
            Self::Secret(_) => 2,
            Self::Sealed => 3,
        }
    }

    /// Whether taking the guard down needs a secret.
    #[must_use]
    pub const fn wants_secret(&self) -> bool {
        matches!(self, Self::Secret(_))
    }

    /// Checks that this process may take the guard down.
    ///
    /// # Errors
    /// [`Refusal`]: the reason why not.
    pub fn check(&self, secret: Option<&[u8]>) -> Result<(), Refusal> {
        match self {
            Self::Root => Ok(()),
            Self::Console if is_on_console() => Ok(()),
            Self::Console => Err(Refusal::NotOnConsole),
            Self::Secret(hash) => {
                let secret = secret.ok_or(Refusal::NoSecret)?;
                let hash = PasswordHash::new(hash).map_err(|_| Refusal::WrongSecret)?;
                Argon2::default().verify_password(secret, &hash).map_err(|_| Refusal::WrongSecret)
            }
            Self::Sealed => Err(Refusal::Sealed),
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "by root, from anywhere",
            Self::Console => "on a console of this machine",
            Self::Secret(_) => "by a secret",
            Self::Sealed => "only by a restart of this machine",
        })
    }
}

/// The hash of a secret, for the configuration.
///
/// # Errors
/// When the kernel gives no randomness for the salt.
pub fn hash(secret: &[u8]) -> Result<String, argon2::password_hash::Error> {
    Ok(Argon2::default().hash_password(secret)?.to_string())
}

/// Checks that some secret can have this hash. Otherwise no secret could take the guard down.
fn check_hash(hash: &str) -> Result<(), String> {
    let wrong = |what: &dyn fmt::Display| {
        format!("this is not a hash of a secret ({what}): make one with `watchdog guard secret`")
    };
    let parts = PasswordHash::new(hash).map_err(|error| wrong(&error))?;
    Algorithm::new(parts.algorithm.as_str()).map_err(|error| wrong(&error))?;
    parts.salt.and(parts.hash).map(drop).ok_or_else(|| wrong(&"it is cut off"))
}

/// Whether this process's controlling terminal is a console: a virtual terminal or a serial line.
/// Both have the major number 4 (Documentation/admin-guide/devices.txt). Terminals of ssh and of
/// similar programs are pseudo terminals.
fn is_on_console() -> bool {
    let stat = Processes::open().and_then(|it| it.read("self/stat"));
    stat.is_ok_and(|stat| is_console(&stat))
}

/// The same from the text of `/proc/PID/stat`. Its seventh field is the terminal's device.
fn is_console(stat: &str) -> bool {
    // The second field is the name in parentheses. It may contain any byte, also parentheses.
    let behind = stat.rsplit_once(')').map(|(_, behind)| behind);
    let device = behind.and_then(|rest| rest.split_whitespace().nth(4)?.parse::<u32>().ok());
    // `new_encode_dev()`: bits 8 to 19 are the major number, 0 to 7 and 20 to 31 the minor number.
    device.is_some_and(|device| (device >> 8) & 0xfff == 4 && device & 0xff != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that only the right secret is accepted.
    #[test]
    fn secrets() {
        let release = Release::Secret(hash(b"open sesame").unwrap());
        assert_eq!(release.check(Some(b"open sesame")), Ok(()));
        assert_eq!(release.check(Some(b"open sesam")), Err(Refusal::WrongSecret));
        assert_eq!(release.check(None), Err(Refusal::NoSecret));
        assert_eq!(Release::Sealed.check(Some(b"open sesame")), Err(Refusal::Sealed));
    }

    /// Check that the configuration's words and a complete hash are read. Check that other words
    /// and incomplete or unknown hashes are refused, and that the error does not repeat them.
    #[test]
    fn configured() {
        let made = hash(b"open sesame").unwrap();
        for (text, expected) in [
            ("root", Release::Root),
            ("console", Release::Console),
            ("never", Release::Sealed),
            (&made, Release::Secret(made.clone())),
        ] {
            assert_eq!(text.parse(), Ok(expected));
        }
        let cut = &made[..made.rfind('$').unwrap()];
        for (wrong, why) in [
            ("", "`never`"),
            ("Root", "`never`"),
            ("open sesame", "`never`"),
            ("$", "not a hash"),
            (cut, "cut off"),
            ("$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4", "not a hash"),
        ] {
            let error = wrong.parse::<Release>().unwrap_err();
            assert!(error.contains(why) && error.contains("watchdog guard secret"), "{error}");
            assert!(!error.contains("sesame"), "{error}");
        }
    }

    /// Check that virtual terminals and serial lines are consoles. Check that pseudo terminals and
    /// a missing terminal are not, whatever the name of the process.
    #[test]
    fn consoles() {
        let stat = |device: u32| format!("7 (a) 4) b) S 1 7 7 {device} 7 0");
        assert!(is_console(&stat(4 << 8 | 1)) && is_console(&stat(4 << 8 | 64)));
        assert!(!is_console(&stat(136 << 8)) && !is_console(&stat(0)) && !is_console(""));
    }
}
