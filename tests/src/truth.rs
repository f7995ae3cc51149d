//! A kernel's report about its own text. Tests compare it with findings from physical memory alone.

use std::fs;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// A kernel's report about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truth {
    /// Physical address of the first byte of kernel text.
    pub text_phys_start: u64,
    /// Physical address after the last byte of kernel text.
    pub text_phys_end: u64,
    /// Virtual address of `_stext`.
    pub stext_virt: u64,
    /// Virtual address of `_etext`.
    pub etext_virt: u64,
    /// As `uname -r` prints it.
    pub release: String,
    /// The line in `/proc/version`, without its newline.
    pub banner: String,
}

impl Truth {
    /// Reads the report of the running kernel from `/proc`. Needs root: other users get zeros as
    /// addresses.
    pub fn of_this_kernel() -> Result<Self> {
        let iomem = read("/proc/iomem")?;
        let kallsyms = read("/proc/kallsyms")?;
        let (text_phys_start, text_phys_end) = kernel_code(&iomem)?;
        Ok(Self {
            text_phys_start,
            text_phys_end,
            stext_virt: symbol(&kallsyms, "_stext")?,
            etext_virt: symbol(&kallsyms, "_etext")?,
            release: read("/proc/sys/kernel/osrelease")?.trim_end().to_owned(),
            banner: read("/proc/version")?.trim_end().to_owned(),
        })
    }
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

/// Returns start and end (exclusive), physical, of the line "Kernel code" of `/proc/iomem`. The
/// line's own end is inclusive (`_etext - 1`, arch/x86/kernel/setup.c, 6.1).
///
/// # Errors
/// If the line is missing, or hides its addresses.
pub fn kernel_code(iomem: &str) -> Result<(u64, u64)> {
    let line = iomem
        .lines()
        .find(|line| line.ends_with(" : Kernel code"))
        .context("/proc/iomem has no line `Kernel code`")?;
    let range = line.split_whitespace().next().unwrap_or_default();
    let (first, last) = range.split_once('-').with_context(|| format!("not a range: `{line}`"))?;
    let (first, last) = (hex(first)?, hex(last)?);
    if last <= first {
        bail!("/proc/iomem shows no addresses (`{line}`): root is needed to see them");
    }
    Ok((first, last + 1))
}

fn symbol(kallsyms: &str, name: &str) -> Result<u64> {
    for line in kallsyms.lines() {
        let mut fields = line.split_whitespace();
        let (address, _kind, symbol) = (fields.next(), fields.next(), fields.next());
        if symbol == Some(name) {
            let address = hex(address.unwrap_or_default())?;
            if address == 0 {
                bail!("/proc/kallsyms hides addresses: root and kernel.kptr_restrict<2 are needed");
            }
            return Ok(address);
        }
    }
    bail!("/proc/kallsyms has no symbol {name}")
}

fn hex(digits: &str) -> Result<u64> {
    u64::from_str_radix(digits, 16).with_context(|| format!("not a hexadecimal number: `{digits}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that the kernel's inclusive range becomes an exclusive one.
    #[test]
    fn kernel_code_is_read_from_iomem() {
        let iomem = "38001000-4fffffff : System RAM\n  39000000-39e01d51 : Kernel code\n";
        assert_eq!(kernel_code(iomem).expect("a range"), (0x3900_0000, 0x39e0_1d52));
    }

    /// Check that the zeros for an ordinary user are refused and not taken as addresses.
    #[test]
    fn hidden_addresses_are_an_error() {
        assert!(kernel_code("  00000000-00000000 : Kernel code\n").is_err());
        assert!(symbol("0000000000000000 T _stext\n", "_stext").is_err());
        assert!(symbol("ffffffff81000000 T _text\n", "_stext").is_err());
    }
}
