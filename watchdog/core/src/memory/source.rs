//! The value of `--memory`: a source of physical memory.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::{PhysAddr, RawPiece, parse_address};

/// A source of physical memory, as the user names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MemorySource {
    /// This machine's memory through `/dev/mem`: all except this kernel's own RAM.
    #[default]
    DevMem,
    /// This kernel's own RAM, through `/proc/kcore`.
    Kcore,
    /// This machine's memory, each part through the one of both that shows it.
    Live,
    /// A file that holds memory byte for byte.
    Raw {
        /// The file.
        path: PathBuf,
        /// Physical address of its first byte.
        base: PhysAddr,
    },
    /// A file that holds several pieces of memory, one after the other.
    Pieces {
        /// The file.
        path: PathBuf,
        /// Where each piece lies, in the order of the file.
        pieces: Vec<RawPiece>,
    },
    /// An ELF core.
    Elf {
        /// The file.
        path: PathBuf,
    },
    /// A LiME image.
    Lime {
        /// The file.
        path: PathBuf,
    },
}

impl MemorySource {
    /// Whether it is this machine's memory and not a file.
    #[must_use]
    pub const fn is_of_machine(&self) -> bool {
        matches!(self, Self::DevMem | Self::Kcore | Self::Live)
    }
}

impl FromStr for MemorySource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "devmem" => return Ok(Self::DevMem),
            "kcore" => return Ok(Self::Kcore),
            "live" => return Ok(Self::Live),
            _ => {}
        }
        match text.split_once(':').filter(|(_, file)| !file.is_empty()) {
            Some(("raw", file)) => {
                // A file name may hold an `@`. Only numbers after the last one are addresses.
                let list = file.rsplit_once('@').filter(|(path, _)| !path.is_empty());
                if let Some((path, Some(pieces))) =
                    list.map(|(path, list)| (path, RawPiece::parse_list(list)))
                {
                    let pieces = pieces.map_err(|error| error.to_string())?;
                    return Ok(Self::Pieces { path: path.into(), pieces });
                }
                let (path, base) = file
                    .rsplit_once('@')
                    .and_then(|(path, base)| Some((path, parse_address(base).ok()?)))
                    .filter(|(path, _)| !path.is_empty())
                    .unwrap_or((file, PhysAddr(0)));
                Ok(Self::Raw { path: path.into(), base })
            }
            Some(("elf", file)) => Ok(Self::Elf { path: file.into() }),
            Some(("lime", file)) => Ok(Self::Lime { path: file.into() }),
            _ => Err(format!(
                "unknown memory source `{text}`; expected `devmem`, `kcore`, `live`, \
                 `raw:FILE[@PHYS[+LENGTH,PHYS+LENGTH…]]`, `elf:FILE` or `lime:FILE`"
            )),
        }
    }
}

impl fmt::Display for MemorySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DevMem => f.write_str("devmem"),
            Self::Kcore => f.write_str("kcore"),
            Self::Live => f.write_str("live"),
            Self::Raw { path, base } => write!(f, "raw:{}@{base}", path.display()),
            Self::Pieces { path, pieces } => {
                let pieces: Vec<_> = pieces.iter().map(ToString::to_string).collect();
                write!(f, "raw:{}@{}", path.display(), pieces.join(","))
            }
            Self::Elf { path } => write!(f, "elf:{}", path.display()),
            Self::Lime { path } => write!(f, "lime:{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for MemorySource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that sources parse, with an address where there is one. Check that their text parses
    /// back, and that other texts are refused.
    #[test]
    fn parse() {
        let raw = |path: &str, base| MemorySource::Raw { path: path.into(), base: PhysAddr(base) };
        let pieces = |list: &[(u64, Option<u64>)]| MemorySource::Pieces {
            path: "ram".into(),
            pieces: list.iter().map(|&(at, size)| RawPiece { base: PhysAddr(at), size }).collect(),
        };
        for (text, expected) in [
            ("devmem", MemorySource::DevMem),
            ("kcore", MemorySource::Kcore),
            ("live", MemorySource::Live),
            ("raw:ram", raw("ram", 0)),
            ("raw:ram@0x38000000", raw("ram", 0x3800_0000)),
            ("raw:me@home/ram", raw("me@home/ram", 0)),
            ("raw:@5", raw("@5", 0)),
            ("raw:@0+0x1000", raw("@0+0x1000", 0)),
            ("raw:a@b+c,d", raw("a@b+c,d", 0)),
            ("raw:ram@0+0x80000000", pieces(&[(0, Some(2 << 30))])),
            ("raw:ram@0+0x80000000,0x100000000", pieces(&[(0, Some(2 << 30)), (4 << 30, None)])),
            ("elf:me@0x10", MemorySource::Elf { path: "me@0x10".into() }),
            ("lime:a:b", MemorySource::Lime { path: "a:b".into() }),
        ] {
            let source: MemorySource = text.parse().unwrap();
            assert_eq!(source, expected);
            assert_eq!(source.to_string().parse(), Ok(expected));
        }
        for wrong in
            ["", "raw:", "elf:", "lime:", "ram.img", "devmem:x", "kcore:", "Live", "raw:a@0+,1"]
        {
            assert!(wrong.parse::<MemorySource>().is_err(), "{wrong}");
        }
    }
}
