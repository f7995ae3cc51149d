//! Node 0's root file system, as an ext4 image: Debian with systemd, journald and the agent's unit.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use xtask::cache;

use super::{apt, place::put};
use crate::steps::{Steps, Workspace};

const SUITE: &str = "bookworm";

const PACKAGES: &str = "systemd-sysv,systemd,dbus,kmod,udev,strace,procps,util-linux,login,\
                        iproute2,less,mount,apt,openssh-server,openssh-client,\
                        bpftool,bpftrace,crun";

/// Units that a test machine does not need: those for machines that run for months, and the login
/// on the console.
const MASKED: &str = "apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
                      e2scrub_all.timer e2scrub_reap.service fstrim.timer getty@tty1.service";

/// The size of the image, which is sparse.
const SIZE: &str = "1G";

/// Builds the image, unless the cache has one from this recipe.
pub(super) fn build(steps: &Steps) -> Result<()> {
    let image = cache::node0_root();
    let stamp = image.with_extension("recipe");
    let recipe = recipe()?;
    if image.exists() && fs::read_to_string(&stamp).is_ok_and(|made_by| made_by == recipe) {
        return Ok(());
    }
    let step = steps.step("root", "node 0's root file system: Debian with systemd and journald");
    let work = Workspace::new("root")?;
    let sources = work.path().join("sources.list");
    fs::write(&sources, apt::sources(SUITE)?)?;
    let made = work.path().join("node0.ext4");
    step.run(&mut mmdebstrap(&sources, &made))?;
    step.run(Command::new("fallocate").arg("--dig-holes").arg(&made))?;

    // The old recipe is removed first, so that no recipe is beside an image from another recipe.
    if stamp.exists() {
        fs::remove_file(&stamp)?;
    }
    put(&made, &image)?;
    let written = work.path().join("recipe");
    fs::write(&written, recipe)?;
    put(&written, &stamp)
}

fn mmdebstrap(sources: &Path, image: &Path) -> Command {
    let mut command = Command::new("mmdebstrap");
    command.args(["--variant=essential", "--format=null"]);
    command.arg(format!("--include={PACKAGES}"));
    command.arg("--aptopt=APT::Install-Recommends \"false\"");
    for left_out in ["doc", "man", "locale", "info"] {
        command.arg(format!("--dpkgopt=path-exclude=/usr/share/{left_out}/*"));
    }
    let hooks = [
        format!("copy-in {} /", overlay().join("etc").display()),
        // The project's files belong to the user who checked them out, but systemd requires root as
        // the owner. This does not apply to all of /etc: shadow has another group.
        "chroot \"$1\" chown --recursive root:root /etc/systemd /etc/profile.d /etc/hostname"
            .into(),
        "chroot \"$1\" chown root:root /etc".into(),
        "chroot \"$1\" systemctl --quiet enable node-agent.service".into(),
        format!("chroot \"$1\" systemctl --quiet mask {MASKED}"),
        // Only a test that needs ssh starts it.
        "chroot \"$1\" systemctl --quiet disable ssh.service".into(),
        "mkdir -p \"$1/host\" \"$1/usr/lib/modules\"".into(),
        // mmdebstrap has mounted /proc and /sys here, but a bind mount does not show them. The
        // image is made beside the tree, because it would otherwise contain itself.
        format!(
            "mkdir \"$1.bare\" && mount --bind \"$1\" \"$1.bare\" && \
             mke2fs -q -t ext4 -L node0 -d \"$1.bare\" \"$1.ext4\" {SIZE} && \
             umount \"$1.bare\" && rmdir \"$1.bare\" && mv \"$1.ext4\" \"$1/node0.ext4\""
        ),
        format!("download /node0.ext4 {}", image.display()),
    ];
    for hook in hooks {
        command.arg(format!("--customize-hook={hook}"));
    }
    command.args([SUITE, "-"]).arg(sources);
    command
}

/// Files of the project that go into the image.
fn overlay() -> PathBuf {
    cache::project_root().join("tests/node0")
}

/// Everything on which the image depends, except Debian itself.
fn recipe() -> Result<String> {
    let mut recipe = format!("{:?}\n", mmdebstrap(Path::new("sources"), Path::new("image")));
    let mut directories = vec![overlay()];
    let mut files = Vec::new();
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory)
            .with_context(|| format!("cannot read {}", directory.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() { &mut directories } else { &mut files }.push(path);
        }
    }
    files.sort();
    for file in files {
        let content =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.strip_prefix(overlay()).unwrap_or(&file).display().to_string();
        writeln!(recipe, "--- {name}\n{content}")?;
    }
    // The recipe does not depend on the project's directory.
    Ok(recipe.replace(&cache::project_root().display().to_string(), ""))
}
