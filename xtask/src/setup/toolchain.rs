//! What is built with, beside the Rust compiler itself: the eBPF half needs
//! the first two, the fuzz targets the third.

use std::{env, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use super::{ask, run, say};

/// The newest that uses rustc's own LLVM; later ones want an LLVM installed.
const BPF_LINKER: &str = "0.10.4";

/// Seen to work with stable Rust and the address sanitizer.
const CARGO_FUZZ: &str = "0.13.2";

/// Installs the sources of Rust's `core` library, `bpf-linker` and `cargo-fuzz`.
pub(super) fn install() -> Result<()> {
    let sysroot = ask(Command::new("rustc").args(["--print", "sysroot"]))?;
    let core = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core");
    if !core.exists() {
        say("adding the sources of Rust's core library, which eBPF programs are built with");
        run(Command::new("rustup").args(["component", "add", "rust-src"])).context(
            "without rustup: Debian's rustc-web and rust-web-src are a compiler with sources \
             (RUSTC=/usr/bin/rustc)",
        )?;
        ensure!(core.exists(), "rust-src was added and {} is not there", core.display());
    }
    cargo_install("bpf-linker", BPF_LINKER)?;
    cargo_install("cargo-fuzz", CARGO_FUZZ)
}

/// Installs a program of this version from the Rust registry.
fn cargo_install(program: &str, version: &str) -> Result<()> {
    let installed = ask(Command::new(program).arg("--version")).unwrap_or_default();
    if installed.trim() == format!("{program} {version}") {
        return Ok(());
    }
    say(&format!("installing {program} (a minute)"));
    // From another directory: the project's own settings, static linking
    // among them, are not for this.
    run(Command::new("cargo").current_dir(env::temp_dir()).args([
        "install",
        program,
        "--version",
        version,
        "--locked",
        "--force",
    ]))
}
