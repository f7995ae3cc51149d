//! The images of all kernels that Debian's suites offer, for the survey. Modules are not kept: a
//! package has a hundred megabytes of them.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use xtask::cache;

use super::{apt::Suite, kernels::version_of, place::put};
use crate::steps::{Step, Steps, Workspace};

/// The suites, oldest first. A kernel that several suites offer counts for the first.
const SUITES: [&str; 7] = [
    "bullseye",
    "bookworm",
    "bookworm-backports",
    "trixie",
    "trixie-backports",
    "sid",
    "experimental",
];
/// Packages of machine monitors that bring a kernel along: the suite, the package, and the file.
const MONITORS: [(&str, &str, &str); 1] =
    [("sid", "libkrunfw5", "./usr/lib/x86_64-linux-gnu/libkrunfw.so.5*")];
/// How a signed kernel's release ends. Its unsigned variant holds the same kernel.
const SIGNED: &str = "-amd64";
/// The ends of the other flavours.
const FLAVOURS: [&str; 2] = ["-rt-amd64", "-cloud-amd64"];

/// Fetches the newest kernel of each suite, version and flavour; with `all`, every one.
pub(crate) fn fetch(steps: &Steps, all: bool) -> Result<()> {
    let step = steps.step("images", "kernels that Debian's suites offer");
    let mut fetched = Vec::new();
    for suite in SUITES {
        let view = Suite::open(suite)?;
        if let Err(error) = view.update(&step) {
            step.say(&format!("this mirror has no {suite}: {error:#}"));
            continue;
        }
        let releases = releases(&view)?;
        let chosen = if all { releases } else { newest(releases) };
        for release in chosen {
            if fetched.contains(&release) {
                continue;
            }
            let package = format!("linux-image-{release}");
            let files = [
                format!("./boot/vmlinuz-{release}"),
                format!("./usr/lib/modules/{release}/vmlinuz"),
            ];
            // Since 6.19, the package that is named after the image only needs the one that has it.
            let (unsigned, binary) =
                (format!("{package}-unsigned"), format!("linux-binary-{release}"));
            keep(&step, &view, &[&package, &unsigned, &binary], &files, suite, &release)?;
            fetched.push(release);
        }
        for (_, package, file) in MONITORS.iter().filter(|it| it.0 == suite) {
            keep(&step, &view, &[package], &[(*file).to_owned()], suite, package)?;
        }
    }
    ensure!(!fetched.is_empty(), "no suite offers a kernel");
    Ok(())
}

/// The releases of a suite's kernels for this architecture.
fn releases(view: &Suite) -> Result<Vec<String>> {
    let names = view.names("^linux-image-[0-9].*-amd64$")?;
    let depends = view.fields(&names, "Depends")?;
    let release = |(name, depends): (String, String)| {
        // Packages such as linux-image-6.12-amd64 may only need the newest of a version.
        let is_kernel = !depends.split(", ").any(|it| it.starts_with("linux-image-"));
        is_kernel.then(|| name.strip_prefix("linux-image-").map(str::to_owned)).flatten()
    };
    Ok(depends.into_iter().filter_map(release).collect())
}

/// The newest release of each version and flavour.
fn newest(releases: Vec<String>) -> Vec<String> {
    let mut newest: BTreeMap<(String, &str), String> = BTreeMap::new();
    for release in releases {
        let flavour = FLAVOURS.into_iter().find(|it| release.ends_with(it)).unwrap_or(SIGNED);
        let kept = newest.entry((version_of(&release), flavour)).or_default();
        if by_numbers(&release, kept) == Ordering::Greater {
            *kept = release;
        }
    }
    newest.into_values().collect()
}

/// Compares the numbers in two releases, in their order.
fn by_numbers(one: &str, other: &str) -> Ordering {
    let numbers = |release: &str| -> Vec<u32> {
        let parts = release.split(|it: char| !it.is_ascii_digit());
        parts.filter_map(|part| part.parse().ok()).collect()
    };
    numbers(one).cmp(&numbers(other))
}

/// Stores the image of the first of these packages that the mirror has, unless the cache has it. A
/// mirror may list a package that it no longer has.
fn keep(
    step: &Step<'_>,
    view: &Suite,
    packages: &[&str],
    files: &[String],
    suite: &str,
    name: &str,
) -> Result<()> {
    let place = cache::surveyed().join(name);
    if place.join("suite").exists() {
        return Ok(());
    }
    fs::create_dir_all(cache::surveyed())?;
    let work = Workspace::new("image")?;
    let image = |package: &&str| {
        let directory = work.path().join(package);
        fs::create_dir(&directory).ok()?;
        let archive = view.download(step, package, &directory).ok()?;
        files.iter().find_map(|file| extract(&archive, file, work.path()))
    };
    let Some(image) = packages.iter().find_map(image) else {
        step.say(&format!("the mirror has no image of {name}: NOT surveyed"));
        return Ok(());
    };
    let made = work.path().join("made");
    fs::create_dir(&made)?;
    fs::rename(image, made.join("vmlinuz"))?;
    fs::write(made.join("suite"), format!("{suite}\n"))?;
    put(&made, &place)
}

/// Takes one file out of a package. The archive is read no further than that file.
fn extract(package: &Path, file: &str, directory: &Path) -> Option<PathBuf> {
    let mut unpacked = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let taken = directory.join("taken");
    fs::create_dir_all(&taken).ok()?;
    let status = Command::new("tar")
        .args(["--extract", "--occurrence=1", "--wildcards", "--transform=s,.*/,,", "-C"])
        .arg(&taken)
        .arg("--file=-")
        .arg(file)
        .stdin(unpacked.stdout.take()?)
        .stderr(Stdio::null())
        .status();
    // It ends early once tar has what it wants.
    let _ended = unpacked.wait();
    let is_file = |path: &PathBuf| path.metadata().is_ok_and(|it| it.is_file() && it.len() > 0);
    let found = fs::read_dir(&taken).ok()?.filter_map(|it| Some(it.ok()?.path())).find(is_file);
    found.filter(|_| status.is_ok_and(|it| it.success()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that the newest of each version and flavour remains, by numbers and not by letters.
    #[test]
    fn newest_by_number() {
        let releases = [
            "6.12.95+deb13-amd64",
            "6.12.118+deb13-amd64",
            "6.12.118+deb13-rt-amd64",
            "6.12.90+deb13.1-rt-amd64",
            "6.19.6+deb13-cloud-amd64",
            "6.1.0-9-amd64",
            "6.1.0-57-amd64",
        ];
        let newest = newest(releases.map(str::to_owned).to_vec());
        assert_eq!(
            newest,
            [
                "6.1.0-57-amd64",
                "6.12.118+deb13-amd64",
                "6.12.118+deb13-rt-amd64",
                "6.19.6+deb13-cloud-amd64"
            ]
        );
    }
}
