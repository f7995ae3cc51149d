//! What is mounted over, under and around the guard's files, and names above them.

use anyhow::Result;

use super::acts::{Act, act, all_refused};
use crate::cases::disarming::{BASELINES, CONFIGURATION, goes_on};
use crate::cases::guard::configured;
use crate::cases::stage::WATCHDOG;
use crate::cases::{List, Stage, Start};

pub(in crate::cases) const CASES: List = &[
    ("siege: mounts around the pins", Start::Standard, |it| all_refused(it, "self", PINS)),
    ("siege: mounts and names around what is kept", Start::Standard, |it| {
        all_refused(it, "self", KEPT)
    }),
    ("siege: containers and other folders mount as ever", Start::Standard, elsewhere),
];

const BPFFS: &str = "/sys/fs/bpf";

/// Everything that is tried; the first of it is about the pins.
pub(super) const ACTS: [Act; 16] = [
    act("the pins moved (mount(2) MS_MOVE)", "mount-move", BPFFS),
    act("the pins moved (move_mount(2))", "move-mount", BPFFS),
    act("/sys moved with the pins", "mount-move", "/sys"),
    act("the pins moved below what is unmounted", "private-move", BPFFS),
    act("a file system over the pins", "mount-over", BPFFS),
    act("a folder over the pins", "bind-over", BPFFS),
    act("another root (pivot_root(2))", "pivot-root", "/"),
    act("the root unmounted", "unmount", "/"),
    act("a file system over the configuration", "mount-over", "/etc/watchdog"),
    act("a file over the configuration", "bind-over", CONFIGURATION),
    act("a folder over the one above it", "bind-over", "/etc"),
    act("a folder over the baselines", "bind-over", BASELINES),
    act("the same, made private by the same call", "bind-private-over", BASELINES),
    act("a file over the executable", "bind-over", WATCHDOG),
    act("the folder above the configuration renamed", "rename", "/etc"),
    act("the folder above the baselines renamed", "rename", "/var/lib"),
];
const PINS: &[Act] = ACTS.split_at(8).0;
const KEPT: &[Act] = ACTS.split_at(8).1;

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
