//! The fuzz targets, their directories, and their programs.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use xtask::cache;

use crate::steps::{Steps, ask};

/// Leak detection is off: leaks are harmless here, and the detection needs ptrace, which containers
/// forbid. The other two options, and the missing backtrace of a panic, are for speed and brevity.
pub(super) const ENVIRONMENT: [(&str, &str); 2] = [
    ("ASAN_OPTIONS", "detect_leaks=0:malloc_context_size=1:quarantine_size_mb=1"),
    ("RUST_BACKTRACE", "0"),
];

/// A fuzz target.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The name of its file in `fuzz_targets`.
    pub(crate) name: String,
}

impl Target {
    /// The committed inputs to replay and to start from.
    pub(super) fn seeds(&self) -> Result<Vec<PathBuf>> {
        let place = self.place("seeds");
        let seeds = files(&place).unwrap_or_default();
        ensure!(!seeds.is_empty(), "target {} has no seeds in {}", self.name, place.display());
        Ok(seeds)
    }

    /// The directory where a long run stores inputs that reach something new, for the next run.
    pub(super) fn corpus(&self) -> PathBuf {
        self.place("corpus")
    }

    /// The directory of failed inputs.
    pub(super) fn artifacts(&self) -> PathBuf {
        self.place("artifacts")
    }

    pub(super) fn place(&self, kind: &str) -> PathBuf {
        directory().join(kind).join(&self.name)
    }

    /// The program, once it is built.
    pub(super) fn program(&self) -> PathBuf {
        program(&self.name)
    }
}

/// The directory of all files for fuzzing.
pub(super) fn directory() -> PathBuf {
    cache::project_root().join("watchdog/fuzz")
}

/// The targets with these names; all without any name.
pub(super) fn chosen(names: &[String]) -> Result<Vec<Target>> {
    let mut all = Vec::new();
    for file in files(&directory().join("fuzz_targets"))? {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        all.push(Target { name });
    }
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|have| have.name != **name)) {
        let all: Vec<_> = all.iter().map(|target| target.name.as_str()).collect();
        bail!("unknown target {unknown}; expected one of {}", all.join(", "));
    }
    all.retain(|target| names.is_empty() || names.contains(&target.name));
    ensure!(!all.is_empty(), "there are no targets in {}", directory().display());
    Ok(all)
}

/// The files in a directory, by name.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut files =
        entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<PathBuf>>>()?;
    files.retain(|file| file.is_file());
    files.sort();
    Ok(files)
}

/// Builds every target, and the program that makes seeds.
///
/// cargo-fuzz's `RUSTFLAGS` replace the project's. These include static linking, which does not
/// work with the address sanitizer. The eBPF programs are not affected, because aya-build sets
/// their flags.
pub(super) fn build(steps: &Steps) -> Result<()> {
    let step = steps.step("fuzz", "the fuzz targets, with coverage counters in every crate");
    let mut command = Command::new("cargo");
    command
        .current_dir(cache::project_root())
        // The sanitizer is an unstable flag.
        .env("RUSTC_BOOTSTRAP", "1")
        .args(["fuzz", "build", "--fuzz-dir"])
        .arg(directory())
        .arg("--target-dir")
        .arg(target_directory());
    step.run(&mut command)
}

/// Runs the program that makes and checks seeds. Returns its output.
pub(super) fn seeds(arguments: &[&OsStr]) -> Result<String> {
    ask(Command::new(program("seeds")).envs(ENVIRONMENT).args(arguments))
}

fn program(name: &str) -> PathBuf {
    target_directory().join("x86_64-unknown-linux-gnu/release").join(name)
}

fn target_directory() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    cache::project_root().join(target).join("fuzz")
}
