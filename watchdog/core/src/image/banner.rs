//! `linux_banner`, the line that names a kernel's version.
//!
//! Since 6.1 a kernel has two of them. The one in init/version.c has no number (`# SMP …`) and
//! serves the first link of the kernel. The one in init/version-timestamp.c is in use: `#1 SMP …`.

use memchr::memmem;

const START: &[u8] = b"Linux version ";
/// Longest line that is believed; Debian's lines have 200 bytes.
const MAX_BANNER: usize = 1024;
/// `__NEW_UTS_LEN`: longest release that `uname -r` can print.
const MAX_RELEASE: usize = 64;
/// Most candidates that are examined.
const MAX_CANDIDATES: usize = 256;

/// A kernel's banner.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Banner<'a> {
    /// As in `/proc/version`, without its newline.
    pub(super) line: &'a str,
    /// As `uname -r` prints it.
    pub(super) release: &'a str,
}

/// The banner in a kernel's read-only data. The error says what the kernel has instead.
pub(super) fn find(rodata: &[u8]) -> Result<Banner<'_>, String> {
    let mut best: Option<Banner<'_>> = None;
    let places = memmem::find_iter(rodata, START).take(MAX_CANDIDATES);
    for banner in places.filter_map(|at| rodata.get(at..)).filter_map(read) {
        match &best {
            Some(other) if other.release != banner.release => {
                return Err(format!(
                    "calls itself both {:?} and {:?}",
                    other.release, banner.release
                ));
            }
            Some(other) if other.is_numbered() || !banner.is_numbered() => {}
            _ => best = Some(banner),
        }
    }
    best.ok_or_else(|| "does not say which version it is (`Linux version …`)".to_owned())
}

fn read(bytes: &[u8]) -> Option<Banner<'_>> {
    let bytes = bytes.get(..MAX_BANNER).unwrap_or(bytes);
    let end = bytes.iter().position(|&byte| byte == 0)?;
    let line = std::str::from_utf8(bytes.get(..end)?).ok()?.strip_suffix('\n')?;
    let (release, _by) = line.get(START.len()..)?.split_once(" (")?;
    let sound = (1..=MAX_RELEASE).contains(&release.len())
        && release.bytes().all(|byte| byte.is_ascii_graphic());
    sound.then_some(Banner { line, release })
}

impl Banner<'_> {
    /// Whether its build has a number. The banner in use always has one.
    fn is_numbered(&self) -> bool {
        let version = self.line.rsplit_once(") #").map(|(_, version)| version);
        version.is_some_and(|version| !version.starts_with(' '))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &[u8] = b"\0Linux version 6.12.1+x (a@b) (gcc, ld) # SMP PREEMPT\n\0";
    const USED: &[u8] = b"\0Linux version 6.12.1+x (a@b) (gcc, ld) #1 SMP PREEMPT\n\0";

    /// Check that the banner in use is found among the two of a kernel, in either order.
    #[test]
    fn two_banners() {
        for rodata in [[FIRST, USED].concat(), [USED, FIRST].concat(), USED.to_vec()] {
            let banner = find(&rodata).unwrap();
            assert_eq!(banner.release, "6.12.1+x");
            assert_eq!(banner.line, "Linux version 6.12.1+x (a@b) (gcc, ld) #1 SMP PREEMPT");
        }
    }

    /// Check that other text is not taken for a banner, and that two kernels in one are refused.
    #[test]
    fn no_banner() {
        for rodata in [
            &b"%s version %s (a@b)\0"[..],
            b"Linux version 6.12 (cut short",
            b"Linux version is unknown\n\0",
            b"Linux version 6.12\x1b[2J (a@b)\n\0",
            b"Linux version 6.12 \xff(a@b)\n\0",
            b"Linux version  (a@b)\n\0",
            b"",
        ] {
            assert!(find(rodata).unwrap_err().contains("does not say which version"));
        }
        let two = [USED, b"\0Linux version 6.1 (a@b) (gcc) #1 SMP\n\0"].concat();
        assert!(find(&two).unwrap_err().contains("both \"6.12.1+x\" and \"6.1\""));
    }
}
