//! apt with separate lists, caches and sources. It reads suites other than this machine's, and
//! changes nothing in `/etc/apt` or `/var/lib/apt`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use xtask::cache;
use xtask::kernels::SUITES;

use crate::steps::{Step, Workspace, ask};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The suites without separate security updates, besides backports.
const ROLLING: [&str; 3] = ["sid", "unstable", "experimental"];

/// A view of one suite.
pub(super) struct Suite {
    directory: PathBuf,
}

impl Suite {
    /// Opens the suite, with the package lists from the last fetch.
    pub(super) fn open(suite: &str) -> Result<Self> {
        let directory = cache::directory().join("apt").join(suite);
        for part in ["lists/partial", "archives/partial"] {
            fs::create_dir_all(directory.join(part))?;
        }
        fs::write(directory.join("status"), "")?;
        fs::write(directory.join("sources.list"), sources(suite)?)?;
        Ok(Self { directory })
    }

    /// Fetches the suite's package lists.
    pub(super) fn update(&self, step: &Step<'_>) -> Result<()> {
        step.run(self.apt("apt-get").args(["--quiet", "update"]))
    }

    /// A field of a package's newest version, if the package exists.
    pub(super) fn field(&self, package: &str, field: &str) -> Result<Option<String>> {
        let shown = match ask(self.apt("apt-cache").args(["show", "--no-all-versions", package])) {
            Ok(shown) => shown,
            Err(_no_such_package) => return Ok(None),
        };
        let prefix = format!("{field}: ");
        Ok(shown.lines().find_map(|line| line.strip_prefix(&prefix)).map(str::to_owned))
    }

    /// The names of the packages that match a regular expression.
    pub(super) fn names(&self, expression: &str) -> Result<Vec<String>> {
        let found = ask(self.apt("apt-cache").args(["search", "--names-only", expression]))?;
        let name = |line: &str| line.split_whitespace().next().map(str::to_owned);
        Ok(found.lines().filter_map(name).collect())
    }

    /// A field of the newest version of each of these packages; empty where it lacks the field.
    pub(super) fn fields(
        &self,
        packages: &[String],
        field: &str,
    ) -> Result<BTreeMap<String, String>> {
        if packages.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut show = self.apt("apt-cache");
        let shown = ask(show.args(["show", "--no-all-versions"]).args(packages))?;
        let package = |paragraph: &str| {
            let of = |name: &str| {
                let line = paragraph.lines().find(|line| line.starts_with(name))?;
                line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned)
            };
            Some((of("Package")?, of(field).unwrap_or_default()))
        };
        Ok(shown.split("\n\n").filter_map(package).collect())
    }

    /// Downloads a package into an empty directory. Returns its file.
    pub(super) fn download(
        &self,
        step: &Step<'_>,
        package: &str,
        directory: &Path,
    ) -> Result<PathBuf> {
        let mut apt = self.apt("apt-get");
        step.run(apt.current_dir(directory).args(["--quiet", "download", package]))?;
        let file = fs::read_dir(directory)?.next().context("apt-get downloaded nothing")?;
        Ok(file?.path())
    }

    /// Downloads packages and unpacks them into `root`.
    pub(super) fn unpack(&self, step: &Step<'_>, packages: &[String], root: &Path) -> Result<()> {
        let name = self.directory.file_name().unwrap_or_default().to_string_lossy();
        let downloads = Workspace::new(&format!("packages-{name}"))?;
        step.run(
            self.apt("apt-get")
                .current_dir(downloads.path())
                .args(["--quiet", "download"])
                .args(packages),
        )?;
        for archive in fs::read_dir(downloads.path())? {
            step.run(Command::new("dpkg-deb").arg("--extract").arg(archive?.path()).arg(root))?;
        }
        Ok(())
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = |part: &str| self.directory.join(part).display().to_string();
        for option in [
            format!("Dir::Etc::sourcelist={}", path("sources.list")),
            "Dir::Etc::sourceparts=/dev/null".into(),
            // Pins of this machine do not apply to other suites.
            "Dir::Etc::preferences=/dev/null".into(),
            "Dir::Etc::preferencesparts=/dev/null".into(),
            format!("Dir::State::lists={}", path("lists")),
            format!("Dir::State::status={}", path("status")),
            format!("Dir::Cache={}", path("")),
            "APT::Architecture=amd64".into(),
            "APT::Architectures=amd64".into(),
            // apt's sandbox user may be unable to read the cache.
            "APT::Sandbox::User=root".into(),
            "Acquire::Languages=none".into(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
        ] {
            command.args(["-o", &option]);
        }
        command
    }
}

/// Lines for sources.list: the suite and its security updates, if it has any, from the mirrors that
/// this machine uses.
pub(super) fn sources(suite: &str) -> Result<String> {
    ensure!(
        Path::new(KEYRING).exists(),
        "the keys of Debian's archive are missing ({KEYRING}): install debian-archive-keyring"
    );
    let (main, security) = mirrors();
    let main = main.context(
        "apt on this machine has no Debian mirror: add one to /etc/apt/sources.list.d. Kernels of \
         other suites are also fetched from it",
    )?;
    let mut lines = format!("deb [signed-by={KEYRING}] {main} {suite} main\n");
    let has_updates = !ROLLING.contains(&suite) && !suite.ends_with("-backports");
    if let Some(security) = security.filter(|_| has_updates) {
        lines += &format!("deb [signed-by={KEYRING}] {security} {suite}-security main\n");
    }
    Ok(lines)
}

/// The mirrors of Debian's main and security archive, if this machine's apt has them.
///
/// apt itself lists what it would fetch. So every format of its sources works, and package lists
/// are not needed.
fn mirrors() -> (Option<String>, Option<String>) {
    let would_fetch = ask(Command::new("apt-get").args([
        "-o",
        "Debug::NoLocking=true",
        "update",
        "--print-uris",
    ]));
    mirrors_among(&would_fetch.unwrap_or_default())
}

/// Parses lines like `'http://mirror.example/debian/dists/bookworm/InRelease' name 0`.
fn mirrors_among(would_fetch: &str) -> (Option<String>, Option<String>) {
    let (mut main, mut security) = (None, None);
    for line in would_fetch.lines() {
        let uri = line.trim_start_matches('\'').split('\'').next().unwrap_or_default();
        let Some((mirror, suite)) =
            uri.strip_suffix("/InRelease").and_then(|directory| directory.split_once("/dists/"))
        else {
            continue;
        };
        match suite.strip_suffix("-security") {
            Some(suite) if is_debian(suite) => security = security.or(Some(mirror.to_owned())),
            None if is_debian(suite) => main = main.or(Some(mirror.to_owned())),
            _ => {}
        }
    }
    (main, security)
}

fn is_debian(suite: &str) -> bool {
    const NAMES: [&str; 6] = ["forky", "stable", "oldstable", "testing", "unstable", "bullseye"];
    SUITES.contains(&suite) || NAMES.contains(&suite)
}

/// The packages that a `Depends` field names, without versions. Of alternatives, only the first.
pub(super) fn depends(field: &str) -> Vec<String> {
    field
        .split(',')
        .filter_map(|dependency| dependency.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// The kernel release that a kernel's package is named after.
pub(super) fn release_of(package: &str) -> Result<&str> {
    package
        .strip_prefix("linux-image-")
        .with_context(|| format!("{package} is not a kernel package"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that this machine's mirrors of Debian are used, and that mirrors of other archives are
    /// not.
    #[test]
    fn mirrors_are_those_of_the_machine() {
        let would_fetch = "'https://other.example/node_20.x/dists/nodistro/InRelease' x 0\n\
             'http://mirror.example/debian/dists/bookworm/InRelease' x 0\n\
             'http://mirror.example/debian/dists/bookworm/main/binary-amd64/Packages.xz' x 0\n\
             'http://security.example/s/dists/bookworm-security/InRelease' x 0\n";
        let (main, security) = mirrors_among(would_fetch);
        assert_eq!(main.as_deref(), Some("http://mirror.example/debian"));
        assert_eq!(security.as_deref(), Some("http://security.example/s"));
    }

    /// Check that another distribution's archive is not taken for Debian's.
    #[test]
    fn derivatives_are_no_mirror() {
        let among = mirrors_among("'http://archive.example/ubuntu/dists/noble/InRelease' x 0\n");
        assert_eq!(among, (None, None));
    }

    /// Check that versions and further alternatives of a dependency are left out.
    #[test]
    fn dependencies_are_named() {
        let field = "kmod, linux-base (>= 4.3~), dracut | initramfs-tools (>= 0.120)";
        assert_eq!(depends(field), ["kmod", "linux-base", "dracut"]);
    }
}
