//! Mounts over, under and around the guard's files, and renames of the folders above them.

use anyhow::Result;

use crate::cases::acts::{Act, act, all_refused};
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

/// All acts. The first eight are about the pins.
pub(super) const ACTS: [Act; 16] = [
    act("the pins moved (mount(2) MS_MOVE)", "mount-move").at(BPFFS),
    act("the pins moved (move_mount(2))", "move-mount").at(BPFFS),
    act("/sys moved with the pins", "mount-move").at("/sys"),
    act("the pins moved below what is unmounted", "private-move").at(BPFFS),
    act("a file system over the pins", "mount-over").at(BPFFS),
    act("a folder over the pins", "bind-over").at(BPFFS),
    act("another root (pivot_root(2))", "pivot-root").at("/"),
    act("the root unmounted", "unmount").at("/"),
    act("a file system over the configuration", "mount-over").at("/etc/watchdog"),
    act("a file over the configuration", "bind-over").at(CONFIGURATION),
    act("a folder over the one above it", "bind-over").at("/etc"),
    act("a folder over the baselines", "bind-over").at(BASELINES),
    act("the same, made private by the same call", "bind-private-over").at(BASELINES),
    act("a file over the executable", "bind-over").at(WATCHDOG),
    act("the folder above the configuration renamed", "rename").at("/etc"),
    act("the folder above the baselines renamed", "rename").at("/var/lib"),
];
const PINS: &[Act] = ACTS.split_at(8).0;
const KEPT: &[Act] = ACTS.split_at(8).1;

/// Check that a process can mount, move and unmount everything in a mount namespace of its own. It
/// can mount at other places of this one.
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
