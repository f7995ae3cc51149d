//! A node 0 that boots under the strict guard and starts the other nodes under it.

use anyhow::{Result, ensure};

use super::Stage;
use super::guard::{TRAMPOLINE, UNOWNED_MEMORY, configuration};
use super::leases::{LOADER, learned, start_by_lease};
use super::paths::reported;
use super::snapshots::STRICT;
use super::stage::{UNIT, WATCHDOG};
use crate::layout;

/// An SSH key for root, and a package to install.
const PREPARE: &str = "systemctl --quiet enable ssh.service
home=$(getent passwd root | cut -d: -f6)
mkdir -p -m 700 $home/.ssh
ssh-keygen -q -t ed25519 -N '' -f $home/.ssh/id_ed25519
cp $home/.ssh/id_ed25519.pub $home/.ssh/authorized_keys
mkdir -p /srv/packages/build/DEBIAN
printf 'Package: strict-test\\nVersion: 1\\nArchitecture: all\\n\
Maintainer: nobody <n@o>\\nDescription: a test\\n' >/srv/packages/build/DEBIAN/control
printf '#!/bin/sh\\ntouch /srv/packages/installed\\n' >/srv/packages/build/DEBIAN/postinst
chmod 755 /srv/packages/build/DEBIAN/postinst";

/// Checks that node 0 boots to the end with the watchdog and its strict guard, and that no service
/// fails. The journal, apt and ssh must work, and the guard must deny what it closes. Their loader
/// must start the other nodes under leases, and the watchdog must find and watch them.
///
/// # Errors
/// When a check fails.
pub fn strict_from_boot(kernel: &str) -> Result<()> {
    let configuration = configuration(&format!("{STRICT}\n{TRAMPOLINE}"));
    let stage = Stage::watched_from_boot(kernel, &configuration, PREPARE)?;
    let booted = stage.machine().node0().shell("systemctl is-system-running --wait")?;
    let failed = stage.machine().node0().shell("systemctl --failed --no-legend --no-pager")?;
    ensure!(booted.text().trim() == "running", "{booted}: {failed}");
    stage.shell(&format!(
        "systemctl is-active --quiet {UNIT} ssh.service systemd-journald.service"
    ))?;

    let mark = stage.mark()?;
    let open = stage.attack("open", UNOWNED_MEMORY, &[])?;
    ensure!(open.result == "EPERM", "/dev/mem: {}", open.result);
    reported(&stage, mark, "open", "denied")?;
    stage.shell(
        "logger strict-goes-on; journalctl --sync; journalctl -q | grep -q strict-goes-on",
    )?;
    let ssh = "ssh -o StrictHostKeyChecking=accept-new -o BatchMode=yes root@127.0.0.1";
    let login = stage.shell(&format!("{ssh} 'id -un; tty || true; cat /proc/uptime'"))?;
    ensure!(login.text().starts_with("root\n"), "{login}");
    stage.shell(
        "cd /srv/packages
         dpkg-deb -Znone --build build strict-test.deb
         apt-get install --yes --quiet ./strict-test.deb
         test -e installed
         apt-get purge --yes --quiet strict-test
         ! dpkg --status strict-test 2>/dev/null",
    )?;

    stage.shell(&format!("install -m 755 /host/node-loader {LOADER}"))?;
    let denied = stage.machine().node0().shell(&format!("{LOADER} stop --node 1"))?;
    ensure!(!denied.success(), "a processor was stopped without a lease: {denied}");
    for node in [1, 2] {
        let mark = stage.mark()?;
        let found = start_by_lease(&stage, node)?;
        ensure!(found.is("node-found"), "{found:?}");
        learned(&stage, mark, node)?;
        let attack = stage.attack("open", layout::main_range(node).start, &[])?;
        ensure!(attack.result == "EPERM", "{}", attack.result);
    }
    let (mark, at) = (stage.mark()?, stage.machine().truth(2)?.text_phys_start + 0x1234);
    let byte = stage.byte(at)?;
    stage.poke(at, byte ^ 1)?;
    stage.wait_for(mark, "text-tampered", |it| it.is("text-tampered"))?;
    let status = stage.shell(&format!("{WATCHDOG} guard status"))?.text();
    stage.note(&format!("booted under the strict guard: {}", status.lines().next().unwrap_or("")));
    Ok(())
}
