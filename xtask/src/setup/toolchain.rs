//! What the eBPF half is built with, beside the Rust compiler itself.

use std::{env, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use super::{ask, run, say};

/// The newest that uses rustc's own LLVM; later ones want an LLVM installed.
const BPF_LINKER: &str = "0.10.4";

/// Installs the sources of Rust's `core` library and `bpf-linker`.
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
    let installed = ask(Command::new("bpf-linker").arg("--version")).unwrap_or_default();
    if installed.trim() != format!("bpf-linker {BPF_LINKER}") {
        say("installing bpf-linker (a minute)");
        // From another directory: the project's own settings, static linking
        // among them, are not for this.
        run(Command::new("cargo").current_dir(env::temp_dir()).args([
            "install",
            "bpf-linker",
            "--version",
            BPF_LINKER,
            "--locked",
            "--force",
        ]))?;
    }
    Ok(())
}
