//! Node 0: from the initramfs to systemd on the real root.

use std::{
    convert::Infallible, env, fs, os::unix::process::CommandExt, path::Path, process::Command,
    thread, time::Duration, time::Instant,
};

use anyhow::{Context, Result, ensure};
use rustix::{mount::mount_move, process::chroot};

use crate::{modules, mount_new};

const ROOT_DEVICE: &str = "/dev/vda";
/// A script of the host's that changes the root file system before systemd sees it.
const AT_BOOT: &str = "/host/at-boot";

/// Mounts the root file system and what the host shares, and becomes systemd.
pub(crate) fn hand_over() -> Result<Infallible> {
    modules::load("boot", "")?;
    fs::remove_dir_all("/modules")?;
    wait_for(Path::new(ROOT_DEVICE))?;
    mount_new("ext4", ROOT_DEVICE, "/root", "")?;
    // Programs and test data, and the running kernel's own modules, come from
    // the host, so that one root image serves every kernel.
    let share = "trans=virtio,version=9p2000.L,msize=262144,cache=loose";
    mount_new("9p", "host", "/root/host", share)?;
    mount_new("9p", "modules", "/root/usr/lib/modules", share)?;

    for directory in ["proc", "sys", "dev"] {
        mount_move(format!("/{directory}"), format!("/root/{directory}"))?;
    }
    env::set_current_dir("/root")?;
    mount_move(".", "/")?;
    chroot(".")?;
    env::set_current_dir("/")?;
    if Path::new(AT_BOOT).exists() {
        let path = "/usr/sbin:/usr/bin:/sbin:/bin";
        let done = Command::new("/bin/sh").args(["-e", AT_BOOT]).env("PATH", path).status()?;
        ensure!(done.success(), "{AT_BOOT} failed: {done}");
    }
    Err(Command::new("/sbin/init").exec()).context("cannot start /sbin/init of the root image")
}

/// Devices of a module appear a moment after it was loaded.
fn wait_for(device: &Path) -> Result<()> {
    let begun = Instant::now();
    while !device.exists() {
        ensure!(
            begun.elapsed() < Duration::from_secs(30),
            "the root device {} did not appear",
            device.display()
        );
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
