//! Write paths: ways in which node 0 could write to another node's memory, or disable the guard.
//!
//! The list below is the only one. It generates the numbers here, and in the guard the enumeration
//! `WritePath` and the modules that describe each path.

/// The list of paths, in the order of their numbers. A row names the path's module in the guard
/// (`paths/MODULE.rs`), its number here, its variant of `WritePath`, and the number itself.
///
/// The number is the row in reports (`--json`) and the index in the guard's tables. It never
/// changes. The number of a removed path is not used again.
#[macro_export]
macro_rules! paths {
    ($make:ident) => {
        $make! {
            /// Opening `/dev/mem` for writing.
            open OPEN Open = 1,
            /// write(2) and its variants, aio, io_uring.
            write WRITE Write = 3,
            /// mmap(2), shared and writable.
            mmap MMAP Mmap = 4,
            /// remap_file_pages(2).
            remap_file_pages REMAP_FILE_PAGES RemapFilePages = 5,
            /// mprotect(2) of a shared mapping that was read-only.
            mprotect MPROTECT Mprotect = 6,
            /// Descriptors and mappings from before the guard, or from a lease that is over. No
            /// hook sees them: the guard searches for them.
            held HELD Held = 8,
            /// `/dev/port`, PCI configuration space and BARs.
            pci PCI Pci = 9,
            /// A driver maps frames into a process.
            frames FRAMES Frames = 10,
            /// A driver maps frames when a process touches them.
            fault FAULT Fault = 11,
            /// An IOMMU lets a device write: VFIO, iommufd, a driver.
            iommu IOMMU Iommu = 12,
            /// A driver gives a device memory to write.
            dma DMA Dma = 13,
            /// Module parameters that are addresses and ports.
            module_parameters PARAMETERS Parameters = 14,
            /// A module is loaded.
            module MODULE Module = 16,
            /// The kernel or a module maps memory for itself: ioremap, memremap.
            ioremap IOREMAP Ioremap = 17,
            /// kexec_load(2) of segments that lie in protected memory.
            kexec_segments KEXEC_SEGMENTS KexecSegments = 18,
            /// Any kexec, and hibernation.
            kexec KEXEC Kexec = 19,
            /// Memory becomes RAM of this node.
            hotplug HOTPLUG Hotplug = 20,
            /// Ports, MSRs, ACPI tables and the like.
            lockdown LOCKDOWN Lockdown = 22,
            /// The guard itself and the watchdog: its objects in the kernel, its files, its
            /// process.
            self_protection SELF_PROTECTION SelfProtection = 25,
            /// `kernel.ftrace_enabled`, which switches the guard's own programs off.
            ftrace_enabled FTRACE Ftrace = 26,
            /// BPF programs that can answer in place of the guard's, or act on the watchdog.
            bpf BPF Bpf = 28,
            /// A processor starts that was not this node's when the guard was armed.
            processors PROCESSORS Processors = 29,
            /// BPF programs that trace the kernel.
            bpf_tracing TRACING Tracing = 30,
        }
    };
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $module:ident $number:ident $variant:ident = $value:literal,)+) => {
        $($(#[$doc])* pub const $number: u32 = $value;)+

        /// All numbers, ascending.
        const ALL: &[u32] = &[$($value),+];
    };
}
paths!(numbers);

/// One more than the largest number: the size of a table indexed by path.
pub const COUNT: u32 = ALL[ALL.len() - 1] + 1;

/// Rows of reports without a program: node 0's allocator, its kernel, and the firmware.
pub const WITHOUT_PROGRAM: [u32; 3] = [21, 23, 24];

const _: () = {
    let mut n = 0;
    while n < ALL.len() {
        assert!(n == 0 || ALL[n - 1] < ALL[n], "the numbers of paths ascend");
        let mut row = 0;
        while row < WITHOUT_PROGRAM.len() {
            assert!(ALL[n] != WITHOUT_PROGRAM[row], "the number is that of a row without program");
            row += 1;
        }
        n += 1;
    }
};
