//! Debian's kernels, unpacked: image, modules, release.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use anyhow::{Context, Result, bail};
use xtask::cache;
use xtask::kernels::{SUITES, cached_name};

use super::{apt, apt::Suite, gate::Gate, place::put};
use crate::steps::{Step, Steps, Workspace};

/// Fetches a kernel, unless the cache has it and `refresh` is off.
///
/// A kernel is named by suite or version, and by flavour; see [`cached_name`]. It is stored by
/// version, with a link by suite. The program that lists its modules must be `installed`.
pub(super) fn fetch(steps: &Steps, name: &str, refresh: bool, installed: &Gate) -> Result<()> {
    let name = cached_name(name);
    if cache::kernels().join(&name).join("release").exists() && !refresh {
        return Ok(());
    }
    let (wanted, flavour) = name.split_once('-').unwrap_or((&name, "amd64"));
    let suites: &[&str] = match SUITES.iter().position(|suite| *suite == wanted) {
        Some(index) => &SUITES[index..=index],
        None => &SUITES,
    };
    let step = steps.step("kernels", &format!("kernel {name} of Debian"));
    let mut seen = Vec::new();
    for suite in suites {
        let view = Suite::open(suite)?;
        view.update(&step)?;
        let Some(image) = newest_image(&view, flavour)? else { continue };
        let version = version_of(apt::release_of(&image)?);
        if wanted == *suite || wanted == version {
            let found = Found { suite, image: &image, version: &version, flavour };
            return found.install(&step, &view, installed);
        }
        seen.push(format!("{version} in {suite}"));
    }
    bail!("Debian has no kernel {name} now; it has {}", seen.join(", "))
}

/// The package on which `linux-image-FLAVOUR` currently depends.
fn newest_image(suite: &Suite, flavour: &str) -> Result<Option<String>> {
    let meta = format!("linux-image-{flavour}");
    let Some(field) = suite.field(&meta, "Depends")? else { return Ok(None) };
    Ok(apt::depends(&field).into_iter().find(|package| package.starts_with("linux-image-")))
}

/// A kernel that a suite has.
struct Found<'a> {
    suite: &'a str,
    /// Its package.
    image: &'a str,
    version: &'a str,
    flavour: &'a str,
}

impl Found<'_> {
    fn install(&self, step: &Step<'_>, view: &Suite, installed: &Gate) -> Result<()> {
        let Self { suite, image, version, flavour } = *self;
        let release = apt::release_of(image)?;
        let name = format!("{version}-{flavour}");
        let place = cache::kernels().join(&name);
        let there = fs::read_to_string(place.join("release")).unwrap_or_default();
        let work = Workspace::new("kernel")?;
        if there.trim() != release {
            let unpacked = work.path().join("unpacked");
            view.unpack(step, &packages_of(view, image, release)?, &unpacked)?;
            installed.wait()?;
            let kernel = work.path().join("kernel");
            arrange(step, &unpacked, &kernel, release)?;
            put(&kernel, &place)?;
        }
        let link = work.path().join("link");
        symlink(name, &link)?;
        put(&link, &cache::kernels().join(format!("{suite}-{flavour}")))
    }
}

/// The package of the image, and the packages of the same release that it needs. Since 7.x, image
/// and modules are separate packages.
fn packages_of(suite: &Suite, image: &str, release: &str) -> Result<Vec<String>> {
    let depends = suite.field(image, "Depends")?.unwrap_or_default();
    let mut packages = vec![image.to_owned()];
    packages.extend(apt::depends(&depends).into_iter().filter(|name| name.ends_with(release)));
    Ok(packages)
}

/// Makes a kernel's directory from its unpacked packages.
fn arrange(step: &Step<'_>, unpacked: &Path, kernel: &Path, release: &str) -> Result<()> {
    fs::create_dir_all(kernel.join("lib/modules"))?;
    // Merged /usr came to kernel packages between bookworm and trixie.
    let tree = ["usr/lib/modules", "lib/modules"]
        .map(|directory| unpacked.join(directory).join(release))
        .into_iter()
        .find(|tree| tree.join("kernel").exists())
        .with_context(|| format!("the packages of {release} have no modules"))?;
    let image = [unpacked.join(format!("boot/vmlinuz-{release}")), tree.join("vmlinuz")]
        .into_iter()
        .find(|image| image.exists())
        .with_context(|| format!("the packages of {release} have no kernel image"))?;
    fs::rename(image, kernel.join("vmlinuz"))?;
    fs::rename(tree, kernel.join("lib/modules").join(release))?;
    step.run(Command::new("/sbin/depmod").arg("--basedir").arg(kernel).arg(release))?;
    fs::write(kernel.join("release"), format!("{release}\n"))?;
    Ok(())
}

/// `6.12.117+deb13-amd64` → `6.12`.
pub(super) fn version_of(release: &str) -> String {
    release.split('.').take(2).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that versions are found in the releases of all suites.
    #[test]
    fn versions() {
        assert_eq!(version_of("6.1.0-56-amd64"), "6.1");
        assert_eq!(version_of("6.12.117+deb13-rt-amd64"), "6.12");
        assert_eq!(version_of("7.2.13+deb14-cloud-amd64"), "7.2");
    }
}
