//! The write paths: what each is, what can be done about it, and what the presets do.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use watchdog_common::path;

use super::{Policy, Preset};

/// A way in which node 0 could write to another node's memory, by the name that configuration and
/// events use. The order is that of the documentation's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub enum WritePath {
    /// `open`: opening `/dev/mem` for writing.
    Open,
    /// `write`: write(2) and its kin, aio, io_uring.
    Write,
    /// `mmap`: a shared writable mapping.
    Mmap,
    /// `remap-file-pages`: remap_file_pages(2).
    RemapFilePages,
    /// `mprotect`: making a read-only shared mapping writable.
    Mprotect,
    /// `held`: what processes hold from before the guard, or from a lease that is over.
    Held,
    /// `pci`: `/dev/port`, PCI configuration space and BARs.
    Pci,
    /// `frames`: a driver maps frames into a process.
    Frames,
    /// `fault`: a driver maps frames when a process touches them.
    Fault,
    /// `iommu`: an IOMMU is told to let a device write.
    Iommu,
    /// `dma`: a driver gives a device memory to write.
    Dma,
    /// `module-parameters`: parameters that tell a module addresses.
    Parameters,
    /// `module`: loading a module.
    Module,
    /// `ioremap`: the kernel or a module maps memory for itself.
    Ioremap,
    /// `kexec-segments`: kexec_load(2) of segments in protected memory.
    KexecSegments,
    /// `kexec`: any kexec, and hibernation.
    Kexec,
    /// `hotplug`: memory becomes RAM of this node.
    Hotplug,
    /// `lockdown`: ports, MSRs, ACPI tables and the like.
    Lockdown,
    /// `self`: the guard itself: its pins, tables, files and process.
    SelfProtection,
    /// `ftrace-enabled`: switching the guard's own programs off by `kernel.ftrace_enabled`.
    Ftrace,
    /// `bpf`: BPF programs that answer in the place of the guard's, or act on the watchdog.
    Bpf,
    /// `processors`: starting a processor that was not this node's when the guard was armed.
    Processors,
    /// `bpf-tracing`: BPF programs that trace the kernel.
    Tracing,
}

/// What the kernel lets eBPF do about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// It can be refused.
    Refuse,
    /// The process can be killed once it has done it.
    Kill,
    /// It can be seen.
    See,
}

/// One line of the table.
struct Facts {
    number: u32,
    name: &'static str,
    reach: Reach,
    standard: Policy,
    strict: Policy,
    what: &'static str,
}

impl WritePath {
    /// Every path, in the order of the table.
    pub const ALL: [Self; 23] = [
        Self::Open,
        Self::Write,
        Self::Mmap,
        Self::RemapFilePages,
        Self::Mprotect,
        Self::Held,
        Self::Pci,
        Self::Frames,
        Self::Fault,
        Self::Iommu,
        Self::Dma,
        Self::Parameters,
        Self::Module,
        Self::Ioremap,
        Self::KexecSegments,
        Self::Kexec,
        Self::Hotplug,
        Self::Lockdown,
        Self::SelfProtection,
        Self::Ftrace,
        Self::Bpf,
        Self::Processors,
        Self::Tracing,
    ];

    const fn facts(self) -> Facts {
        use Policy::{Deny, Kill, Observe, Off};
        use Reach::{Refuse, See};
        let (number, name, reach, standard, strict, what) = match self {
            Self::Open => (path::OPEN, "open", Refuse, Off, Deny, "open /dev/mem for writing"),
            Self::Write => {
                (path::WRITE, "write", Refuse, Deny, Deny, "write(2) and variants, aio, io_uring")
            }
            Self::Mmap => {
                (path::MMAP, "mmap", Refuse, Deny, Deny, "map /dev/mem shared and writable")
            }
            Self::RemapFilePages => (
                path::REMAP_FILE_PAGES,
                "remap-file-pages",
                Refuse,
                Deny,
                Deny,
                "move such a mapping",
            ),
            Self::Mprotect => (
                path::MPROTECT,
                "mprotect",
                Refuse,
                Deny,
                Deny,
                "make a read-only mapping writable",
            ),
            Self::Held => {
                (path::HELD, "held", Reach::Kill, Kill, Kill, "access that predates the guard")
            }
            Self::Pci => (path::PCI, "pci", Refuse, Deny, Deny, "/dev/port, PCI registers"),
            Self::Frames => (
                path::FRAMES,
                "frames",
                Reach::Kill,
                Kill,
                Kill,
                "a driver maps frames into a process",
            ),
            Self::Fault => (
                path::FAULT,
                "fault",
                Reach::Kill,
                Kill,
                Kill,
                "the same when a process touches them",
            ),
            Self::Iommu => {
                (path::IOMMU, "iommu", Refuse, Observe, Deny, "VFIO, iommufd, mappings for devices")
            }
            Self::Dma => (path::DMA, "dma", See, Off, Observe, "a driver lets a device write"),
            Self::Parameters => (
                path::PARAMETERS,
                "module-parameters",
                Refuse,
                Deny,
                Deny,
                "addresses as module parameters",
            ),
            Self::Module => (path::MODULE, "module", Refuse, Off, Deny, "load any module"),
            Self::Ioremap => (
                path::IOREMAP,
                "ioremap",
                See,
                Observe,
                Observe,
                "the kernel maps it for its own use",
            ),
            Self::KexecSegments => (
                path::KEXEC_SEGMENTS,
                "kexec-segments",
                Refuse,
                Deny,
                Deny,
                "kexec segments in a node's memory",
            ),
            Self::Kexec => (path::KEXEC, "kexec", Refuse, Off, Deny, "any kexec, hibernation"),
            Self::Hotplug => {
                (path::HOTPLUG, "hotplug", See, Observe, Observe, "it becomes RAM of node 0")
            }
            Self::Lockdown => {
                (path::LOCKDOWN, "lockdown", Refuse, Deny, Deny, "ports, MSRs, ACPI tables")
            }
            Self::SelfProtection => {
                (path::SELF_PROTECTION, "self", Refuse, Deny, Deny, "the guard and the watchdog")
            }
            Self::Ftrace => {
                (path::FTRACE, "ftrace-enabled", Refuse, Deny, Deny, "set kernel.ftrace_enabled")
            }
            Self::Bpf => {
                (path::BPF, "bpf", Refuse, Deny, Deny, "BPF programs that override the guard")
            }
            Self::Processors => (
                path::PROCESSORS,
                "processors",
                Refuse,
                Deny,
                Deny,
                "start another node's processor",
            ),
            Self::Tracing => (
                path::TRACING,
                "bpf-tracing",
                Refuse,
                Off,
                Deny,
                "BPF programs that trace the kernel",
            ),
        };
        Facts { number, name, reach, standard, strict, what }
    }

    /// The number that programs use for it, and its row in reports.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.facts().number
    }

    /// What it is called in configuration and events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// What a process on this path did, for a sentence; `None` where it is a write to a range.
    #[must_use]
    pub const fn deed(self) -> Option<&'static str> {
        Some(match self {
            Self::Write | Self::Mmap | Self::RemapFilePages | Self::Mprotect => return None,
            Self::Open => "tried to open /dev/mem for writing",
            Self::Held => "had access that predates the guard or outlived a lease",
            Self::Pci => "tried to access ports or PCI registers",
            Self::Frames => "had a driver map page frames into its address space",
            Self::Fault => "had a driver map page frames into its address space on a page fault",
            Self::Iommu => "tried to use an IOMMU, which lets devices write to memory",
            Self::Dma => "had a driver let a device write to memory",
            Self::Parameters => "tried to give a module addresses as parameters",
            Self::Module => "tried to load a kernel module",
            Self::Ioremap => "had the kernel map memory for its own use",
            Self::KexecSegments => "tried to load kexec segments over other nodes' memory",
            Self::Kexec => "tried to load a kexec image or to hibernate",
            Self::Hotplug => "added memory as RAM of node 0",
            Self::Lockdown => "tried to access hardware directly",
            Self::SelfProtection => "tried to interfere with the guard",
            Self::Ftrace => "tried to set kernel.ftrace_enabled, which switches the guard off",
            Self::Bpf => "tried to load or attach a BPF program that can override the guard",
            Self::Processors => "tried to start a processor that does not belong to node 0",
            Self::Tracing => "tried to load a BPF program that traces the kernel",
        })
    }

    /// What it is, in a few words.
    #[must_use]
    pub const fn what(self) -> &'static str {
        self.facts().what
    }

    /// The path of a number.
    #[must_use]
    pub fn of_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|path| path.number() == number)
    }

    /// What a preset does about it.
    #[must_use]
    pub fn preset(self, preset: Preset) -> Policy {
        let facts = self.facts();
        match preset {
            Preset::Observe => facts.standard.min(Policy::Observe),
            Preset::Standard => facts.standard,
            Preset::Strict => facts.strict,
        }
    }

    /// Whether a policy can be carried out here.
    ///
    /// # Errors
    /// A sentence when the kernel has no means for it.
    pub fn allows(self, policy: Policy) -> Result<(), String> {
        let can: &[Policy] = match self.facts().reach {
            Reach::Refuse => return Ok(()),
            Reach::Kill => &[Policy::Off, Policy::Observe, Policy::Kill],
            Reach::See => &[Policy::Off, Policy::Observe],
        };
        if can.contains(&policy) {
            return Ok(());
        }
        let can: Vec<_> = can.iter().map(|policy| format!("`{policy}`")).collect();
        Err(format!(
            "the kernel offers no way to {policy} path `{self}`: write {}",
            can.join(" or ")
        ))
    }
}

impl fmt::Display for WritePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl TryFrom<String> for WritePath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for WritePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|path| path.name() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|path| path.name()).collect();
            format!("unknown path `{text}`; expected one of {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that every preset is one that the kernel has the means for, and that no stricter one
    /// does less.
    #[test]
    fn presets() {
        for path in WritePath::ALL {
            let [observe, standard, strict] =
                [Preset::Observe, Preset::Standard, Preset::Strict].map(|it| path.preset(it));
            for policy in [observe, standard, strict] {
                assert_eq!(path.allows(policy), Ok(()), "{path}");
            }
            assert!(observe <= standard && standard <= strict, "{path}");
            assert!(observe <= Policy::Observe, "{path}");
        }
    }

    /// Check that numbers and names lead back to their path, and that a wrong name is refused with
    /// the right ones.
    #[test]
    fn names() {
        for path in WritePath::ALL {
            assert_eq!(WritePath::of_number(path.number()), Some(path));
            assert_eq!(path.name().parse(), Ok(path));
        }
        assert!("mmpa".parse::<WritePath>().unwrap_err().contains("mmap, remap-file-pages"));
    }
}
