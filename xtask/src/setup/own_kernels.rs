//! Kernels of one's own configuration: built from Debian's source package, and stored as Debian's
//! kernels are.
//!
//! Debian's kernels have every symbol, type information and modules. Kernels that people build for
//! themselves, or that machine monitors come with, have less, and some have mechanisms that Debian
//! leaves off. A build takes minutes, so no other command builds them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, ensure};
use xtask::cache;
use xtask::own_kernels::{OwnKernel, unfulfilled};

use super::{apt::Suite, packages, place::put};
use crate::steps::{Step, Steps, Workspace};

/// The file beside a kernel with all that it was built from.
const RECIPE: &str = "recipe";
/// The suffix of LLVM's programs. Version 16 is the first with kCFI on x86.
const LLVM: &str = "-19";

/// Builds those of the kernels that are missing or have another recipe. With `refresh`, also those
/// of which Debian has a newer source.
pub(crate) fn build(steps: &Steps, kernels: &[OwnKernel], refresh: bool) -> Result<()> {
    fs::create_dir_all(cache::kernels())?;
    let mut left: Vec<_> = kernels.iter().filter(|it| refresh || !is_built(it)).collect();
    if left.is_empty() {
        return Ok(());
    }
    packages::install_for_kernels(steps, left.iter().any(|it| it.clang))?;
    let step = steps.step("own kernels", "built from Debian's sources; this takes minutes each");
    while let Some(first) = left.first() {
        let (suite, version) = (first.suite, first.version);
        let same = |it: &&OwnKernel| it.suite == suite && it.version == version;
        let (now, later) = left.into_iter().partition::<Vec<_>, _>(same);
        left = later;
        let source = Source::find(&step, suite, version)?;
        let stale = |it: &&&OwnKernel| recipe_of(it) != Some(recipe(it, &source.package));
        let stale: Vec<_> = now.iter().filter(stale).collect();
        if stale.is_empty() {
            continue;
        }
        let work = Workspace::new(&format!("source-{version}"))?;
        let tree = source.unpack(&step, work.path())?;
        for kernel in stale {
            let build = work.path().join(kernel.name);
            make(&step, kernel, &tree, &build)?;
            install(&step, kernel, &tree, &build, &source.package)?;
        }
    }
    Ok(())
}

/// Whether the cache has the kernel in its present configuration, of whichever source.
fn is_built(kernel: &OwnKernel) -> bool {
    let made_by = recipe_of(kernel).unwrap_or_default();
    made_by.split_once('\n').is_some_and(|(_, made_by)| made_by == kernel.configuration())
}

fn recipe_of(kernel: &OwnKernel) -> Option<String> {
    fs::read_to_string(cache::kernels().join(kernel.name).join(RECIPE)).ok()
}

/// The source, then the configuration.
fn recipe(kernel: &OwnKernel, source: &str) -> String {
    format!("{source}\n{}", kernel.configuration())
}

/// A source package of a suite.
struct Source {
    view: Suite,
    /// Its name.
    name: String,
    /// Name and version.
    package: String,
}

impl Source {
    fn find(step: &Step<'_>, suite: &str, version: &str) -> Result<Self> {
        let view = Suite::open(suite)?;
        view.update(step)?;
        let name = format!("linux-source-{version}");
        let newest = view.field(&name, "Version")?;
        let newest = newest.with_context(|| format!("Debian {suite} has no {name} now"))?;
        Ok(Self { view, package: format!("{name} {newest}"), name })
    }

    /// Unpacks the source into a directory. Returns the tree.
    fn unpack(&self, step: &Step<'_>, directory: &Path) -> Result<PathBuf> {
        let package = directory.join("package");
        self.view.unpack(step, std::slice::from_ref(&self.name), &package)?;
        let archive = package.join("usr/src").join(format!("{}.tar.xz", self.name));
        step.run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(directory))?;
        fs::remove_dir_all(&package)?;
        Ok(directory.join(&self.name))
    }
}

/// `make` of a kernel, with a fixed author and date: the same source makes the same bytes.
fn kbuild(kernel: &OwnKernel, tree: &Path, build: &Path) -> Command {
    let mut make = Command::new("nice");
    make.args(["-n", "10", "make", "--silent", "--directory"]).arg(tree);
    let mut output = std::ffi::OsString::from("O=");
    output.push(build);
    make.arg(output);
    if kernel.clang {
        make.arg(format!("LLVM={LLVM}"));
    }
    make.args(["KBUILD_BUILD_USER=own", "KBUILD_BUILD_HOST=own"]);
    make.arg("KBUILD_BUILD_TIMESTAMP=1 Jan 2026");
    make
}

/// Configures and compiles a kernel.
fn make(step: &Step<'_>, kernel: &OwnKernel, tree: &Path, build: &Path) -> Result<()> {
    fs::create_dir_all(build)?;
    let (fragment, wanted) = (build.join("fragment"), kernel.configuration());
    fs::write(&fragment, &wanted)?;
    let mut all = std::ffi::OsString::from("KCONFIG_ALLCONFIG=");
    all.push(&fragment);
    step.run(kbuild(kernel, tree, build).arg(all).arg("allnoconfig"))?;
    let made = fs::read_to_string(build.join(".config"))?;
    let missing = unfulfilled(&wanted, &made);
    ensure!(
        missing.is_empty(),
        "{}: this source, or the compiler, does not allow {}",
        kernel.name,
        missing.join(", ")
    );
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    let mut make = kbuild(kernel, tree, build);
    make.arg(format!("-j{jobs}")).arg("bzImage");
    if has_modules(&made) {
        make.arg("modules");
    }
    step.say(&format!("compiling {}", kernel.name));
    step.run(&mut make)
}

fn has_modules(configuration: &str) -> bool {
    configuration.lines().any(|line| line == "CONFIG_MODULES=y")
}

/// Stores a kernel as Debian's are stored, and beside it the unpacked kernel, its symbols and its
/// configuration.
fn install(
    step: &Step<'_>,
    kernel: &OwnKernel,
    tree: &Path,
    build: &Path,
    source: &str,
) -> Result<()> {
    let work = Workspace::new(kernel.name)?;
    let made = work.path().join("kernel");
    let release = fs::read_to_string(build.join("include/config/kernel.release"))?;
    let release = release.trim();
    let modules = made.join("lib/modules").join(release);
    fs::create_dir_all(&modules)?;
    let configuration = fs::read_to_string(build.join(".config"))?;
    if has_modules(&configuration) {
        let mut place = std::ffi::OsString::from("INSTALL_MOD_PATH=");
        place.push(&made);
        let mut install = kbuild(kernel, tree, build);
        step.run(install.arg(place).args(["INSTALL_MOD_STRIP=1", "modules_install"]))?;
        for link in ["build", "source"] {
            let _absent = fs::remove_file(modules.join(link));
        }
    } else {
        // What reads a kernel's modules finds that there are none.
        for list in ["modules.order", "modules.builtin", "modules.builtin.modinfo"] {
            let built = build.join(list);
            let content = if built.exists() { fs::read(built)? } else { Vec::new() };
            fs::write(modules.join(list), content)?;
        }
    }
    step.run(Command::new("/sbin/depmod").arg("--basedir").arg(&made).arg(release))?;
    fs::copy(build.join("arch/x86/boot/bzImage"), made.join("vmlinuz"))?;
    fs::copy(build.join("System.map"), made.join("System.map"))?;
    let (vmlinux, stripped) = (build.join("vmlinux"), made.join("vmlinux"));
    step.run(Command::new("objcopy").arg("--strip-debug").arg(vmlinux).arg(stripped))?;
    fs::write(made.join("config"), configuration)?;
    fs::write(made.join(RECIPE), recipe(kernel, source))?;
    fs::write(made.join("release"), format!("{release}\n"))?;
    put(&made, &cache::kernels().join(kernel.name))
}
