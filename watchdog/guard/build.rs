//! Builds the eBPF programs, which the binary embeds.

use std::env;

use anyhow::Context as _;
use aya_build::{Package, Toolchain, build_ebpf};

fn main() -> anyhow::Result<()> {
    println!("cargo:rerun-if-changed=../../watchdog-common/src");
    let toolchain = env::var("RUSTUP_TOOLCHAIN").unwrap_or_else(|_| "stable".to_owned());
    // `core` for the eBPF target is compiled from rust-src, which stable does only on request.
    // SAFETY: a build script's only thread.
    unsafe { env::set_var("RUSTC_BOOTSTRAP", "1") };
    let programs = Package {
        name: "watchdog-ebpf",
        root_dir: concat!(env!("CARGO_MANIFEST_DIR"), "/../../watchdog-ebpf"),
        ..Package::default()
    };
    build_ebpf([programs], Toolchain::Custom(&toolchain)).context(
        "the eBPF programs were not built; bpf-linker and the component rust-src are needed: run \
         `cargo xtask setup`",
    )
}
