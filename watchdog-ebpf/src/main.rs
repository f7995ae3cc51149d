//! The guard's eBPF programs, grouped by what they watch.
//!
//! LSM programs decide. Fentry programs save data that an LSM hook does not get, or detect accesses
//! that no hook sees. Each program file says what it needs, which kernel prototype it relies on
//! (`match-proto:`), and why it fails open or closed. When the guard is loaded, it checks the
//! number of parameters against the kernel's BTF.
#![no_std]
#![no_main]
// For one instruction in `report`. The build allows unstable features because it builds `core`.
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod access;
mod arguments;
mod bpf_programs;
mod bpf_usage;
mod device;
mod dma;
mod dma_devices;
mod file_mprotect;
mod file_open;
mod file_permission;
mod frames;
mod hotplug;
mod identity;
mod iommu;
mod ioremap;
mod kernel;
mod kernel_load_data;
mod kernel_read_file;
mod kexec_segment;
mod lease;
mod listing;
mod locked_down;
mod memory;
mod mmap_file;
mod pointer;
mod processors;
mod registers;
mod report;
mod rules;
mod rw_verify_area;
mod saved;
mod self_files;
mod self_mount;
mod self_objects;
mod self_peer;
mod self_perf;
mod self_process;
mod self_protection;
mod shared_frames;
mod structures;
mod sysctl;

// On the host this crate is only checked, and its dependencies may need `std`.
#[cfg(not(target_arch = "bpf"))]
extern crate std;

/// Unreachable: the verifier refuses a program that could reach this loop.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel allows the helpers used here only in GPL-compatible programs.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
