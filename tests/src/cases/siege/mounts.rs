//! What is mounted over, under and around the guard's files, and names above them.

use anyhow::Result;

use crate::cases::disarming::{BASELINES, CONFIGURATION, goes_on, refused_as};
use crate::cases::guard::configured;
use crate::cases::stage::WATCHDOG;
use crate::cases::{List, Stage, Start};

pub(in crate::cases) const CASES: List = &[
    ("siege: the pins moved", Start::Standard, |it| refused(it, "mount-move", PINS)),
    ("siege: the pins moved by move_mount", Start::Standard, |it| refused(it, "move-mount", PINS)),
    ("siege: /sys moved with the pins", Start::Standard, |it| refused(it, "mount-move", "/sys")),
    ("siege: the pins moved below what is unmounted", Start::Standard, |it| {
        refused(it, "private-move", PINS)
    }),
    ("siege: a file system over the pins", Start::Standard, |it| refused(it, "mount-over", PINS)),
    ("siege: a folder over the pins", Start::Standard, |it| refused(it, "bind-over", PINS)),
    ("siege: a file system over the configuration", Start::Standard, |it| {
        refused(it, "mount-over", "/etc/watchdog")
    }),
    ("siege: a file over the configuration", Start::Standard, |it| {
        refused(it, "bind-over", CONFIGURATION)
    }),
    ("siege: a folder over the one above it", Start::Standard, |it| {
        refused(it, "bind-over", "/etc")
    }),
    ("siege: a folder over the baselines", Start::Standard, |it| {
        refused(it, "bind-over", BASELINES)
    }),
    ("siege: a file over the executable", Start::Standard, |it| refused(it, "bind-over", WATCHDOG)),
    ("siege: another root", Start::Standard, |it| refused(it, "pivot-root", "/")),
    ("siege: the root unmounted", Start::Standard, |it| refused(it, "unmount", "/")),
    ("siege: the folder above the configuration renamed", Start::Standard, |it| {
        refused(it, "rename", "/etc")
    }),
    ("siege: the folder above the baselines renamed", Start::Standard, |it| {
        refused(it, "rename", "/var/lib")
    }),
    ("siege: containers and other folders mount as ever", Start::Standard, elsewhere),
];

const PINS: &str = "/sys/fs/bpf";

fn refused(stage: &Stage, by: &str, file: &str) -> Result<()> {
    configured(stage, "", || refused_as(stage, "self", by, file))
}

/// Check that in a mount namespace of its own everything can be mounted, moved and unmounted, and
/// elsewhere in this one as well.
fn elsewhere(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        let watchdog = stage.watchdog()?;
        stage.shell(
            "unshare --mount sh -ec '
                 mount -t tmpfs tmpfs /etc/watchdog
                 mkdir /mnt/to
                 mount --move /sys/fs/bpf /mnt/to
                 umount --lazy /mnt/to
                 mount --rbind / /mnt
                 cd /mnt
                 pivot_root . mnt
                 umount --lazy /mnt'
             rmdir /mnt/to
             mount -t tmpfs tmpfs /mnt
             mkdir /mnt/folder /run/folder
             mount --bind /run/folder /mnt/folder
             umount /mnt/folder /mnt
             mkdir /etc/other
             mv /etc/other /etc/another
             rmdir /etc/another /run/folder",
        )?;
        goes_on(stage, watchdog)
    })
}
