//! Programs from the Rust registry. The eBPF half is built with Rust's sources and bpf-linker, the
//! fuzz targets with cargo-fuzz. Two programs check the tree.

use std::{env, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use xtask::cache;

use crate::steps::{Steps, Workspace, ask};

/// A program of the Rust registry.
struct Program {
    package: &'static str,
    name: &'static str,
    version: &'static str,
}

/// The newest version that uses rustc's LLVM. Later versions need an installed LLVM.
const BPF_LINKER: Program =
    Program { package: "bpf-linker", name: "bpf-linker", version: "0.10.4" };

/// A version that works with stable Rust and the address sanitizer.
const CARGO_FUZZ: Program =
    Program { package: "cargo-fuzz", name: "cargo-fuzz", version: "0.13.2" };

/// The newest versions that build with the project's Rust.
const LINTERS: [Program; 2] = [
    Program { package: "typos-cli", name: "typos", version: "1.52.0" },
    Program { package: "cargo-deny", name: "cargo-deny", version: "0.20.2" },
];

/// The profile for programs of the registry. It is the same for all of them and for the
/// dependencies of their build scripts. So a package that several of them need is compiled once.
const PROFILE: [(&str, &str); 5] = [
    ("OPT_LEVEL", "0"),
    ("LTO", "off"),
    ("STRIP", "debuginfo"),
    ("CODEGEN_UNITS", "16"),
    ("BUILD_OVERRIDE_CODEGEN_UNITS", "16"),
];

/// Installs the sources of Rust's `core` library and `bpf-linker`, and `cargo-fuzz` if `fuzzing`.
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
    install_for_user(steps, &BPF_LINKER)?;
    if fuzzing {
        install_for_user(steps, &CARGO_FUZZ)?;
    }
    Ok(())
}

/// Installs the linters into the cache. They share a target folder, so a package that both need is
/// compiled once.
pub(super) fn install_linters(steps: &Steps) -> Result<()> {
    let missing: Vec<_> =
        LINTERS.iter().filter(|it| !it.is_installed(&cache::linter(it.name))).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let step = steps.step("linters", "compiled without optimization, to save time");
    let target = Workspace::new("linters")?;
    let mut cargo = cargo_install(&missing);
    step.run(cargo.env("CARGO_TARGET_DIR", target.path()).arg("--root").arg(cache::linters()))
}

/// Installs a program for the user, where cargo and rustc find it.
fn install_for_user(steps: &Steps, program: &Program) -> Result<()> {
    if program.is_installed(Path::new(program.name)) {
        return Ok(());
    }
    let step = steps.step(program.name, "compiled without optimization, to save time");
    step.run(&mut cargo_install(&[program]))
}

impl Program {
    /// Whether a file is this version of the program.
    fn is_installed(&self, file: &Path) -> bool {
        let version = ask(Command::new(file).arg("--version")).unwrap_or_default();
        version.trim() == format!("{} {}", self.package, self.version)
    }
}

/// `cargo install` of these programs.
fn cargo_install(programs: &[&Program]) -> Command {
    let mut cargo = Command::new("cargo");
    // cargo runs in another directory, because the project's settings, such as static linking, do
    // not apply to these programs.
    cargo.current_dir(env::temp_dir());
    for (setting, value) in PROFILE {
        cargo.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
    }
    cargo.args(["install", "--locked", "--force"]);
    cargo.args(programs.iter().map(|it| format!("{}@{}", it.package, it.version)));
    cargo
}
