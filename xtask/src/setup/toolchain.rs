//! What is built with, beside the Rust compiler itself: the eBPF half needs
//! the first two, the fuzz targets the third.

use std::{env, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use crate::steps::{Steps, ask};

/// The newest that uses rustc's own LLVM; later ones want an LLVM installed.
const BPF_LINKER: &str = "0.10.4";

/// Seen to work with stable Rust and the address sanitizer.
const CARGO_FUZZ: &str = "0.13.2";

/// Checks of the tree; the newest that build with the project's Rust.
const TYPOS: &str = "1.52.0";
const CARGO_DENY: &str = "0.20.2";

/// Installs what checks spelling and dependencies.
pub(super) fn install_linters(steps: &Steps) -> Result<()> {
    cargo_install(steps, "typos-cli", "typos", TYPOS)?;
    cargo_install(steps, "cargo-deny", "cargo-deny", CARGO_DENY)
}

/// Installs the sources of Rust's `core` library and `bpf-linker`; `cargo-fuzz` where it is wanted.
pub(super) fn install(steps: &Steps, fuzzing: bool) -> Result<()> {
    let sysroot = ask(Command::new("rustc").args(["--print", "sysroot"]))?;
    let core = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core");
    if !core.exists() {
        let step = steps.step("rust-src", "the sources of Rust's core library, for eBPF programs");
        step.run(Command::new("rustup").args(["component", "add", "rust-src"])).context(
            "rustup is missing. Without it, Debian's rustc-web and rust-web-src are a compiler \
             with sources (RUSTC=/usr/bin/rustc)",
        )?;
        ensure!(core.exists(), "rust-src was added, but {} does not exist", core.display());
    }
    cargo_install(steps, "bpf-linker", "bpf-linker", BPF_LINKER)?;
    if fuzzing {
        cargo_install(steps, "cargo-fuzz", "cargo-fuzz", CARGO_FUZZ)?;
    }
    Ok(())
}

/// Installs a program of this version from the Rust registry.
fn cargo_install(
    steps: &Steps,
    package: &'static str,
    program: &'static str,
    version: &str,
) -> Result<()> {
    let installed = ask(Command::new(program).arg("--version")).unwrap_or_default();
    if installed.trim() == format!("{package} {version}") {
        return Ok(());
    }
    let step = steps.step(program, "compiled without optimization, to save time");
    let mut cargo = Command::new("cargo");
    // From another directory: the project's own settings, static linking
    // among them, are not for this.
    cargo.current_dir(env::temp_dir());
    for (setting, value) in [("OPT_LEVEL", "0"), ("LTO", "off"), ("CODEGEN_UNITS", "16")] {
        cargo.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
    }
    step.run(cargo.args(["install", package, "--version", version, "--locked", "--force"]))
}
