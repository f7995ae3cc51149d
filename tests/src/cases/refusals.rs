//! Bad input: exit status 2, and a message that says what to do.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{List, Stage, Start};

pub(super) const CASES: List = &[
    ("refused: what is wrong with arguments, memory and configuration", Start::Ready, arguments),
    ("refused: without privilege", Start::Ready, privilege),
    ("refused: without type information", Start::Learned, no_btf),
];

/// Check that each mistake ends with status 2 and its message, without a panic.
fn arguments(stage: &Stage) -> Result<()> {
    let main = "0x38000000..0x50000000";
    stage.shell("printf 'perod = \"1s\"\\n' > /tmp/wrong.toml; truncate -s 4096 /tmp/empty.img")?;
    let cases: &[(&str, &str)] = &[
        ("locate --node 0x68000000..0x68200000", "is System RAM of this kernel"),
        ("run --node 0x68000000..0x68200000", "memmap=SIZE$START"),
        ("locate --node 0xfee00000..0xfee01000", "a device's"),
        ("locate --node 0x20000000..0x21000000", "no kernel was found in 0x20000000..0x21000000"),
        ("scan --node 0x20000000..0x21000000", "no kernel was found"),
        ("run --node 0x20000000..0x21000000", "no kernel was found"),
        ("locate --node 0x20000000..0x68000000", "2 kernels were found"),
        ("locate --node 0x38000000", "START..END"),
        ("locate --node a/b=0x38000000..0x50000000", "invalid node name"),
        ("locate --node 0x50000000..0x38000000", "is empty"),
        ("locate --memory raw:/nonexistent", "/nonexistent as a memory image"),
        ("locate --memory raw:/tmp", "not a regular file"),
        ("locate --memory raw:/dev/null", "not a regular file"),
        ("locate --memory raw:/tmp/empty.img", "no kernel was found in 0x0..0x1000"),
        ("locate --memory raw:/tmp/empty.img --node 0x38000000..0x50000000", "not in the image"),
        ("scan --memory floppy", "unknown memory source"),
        ("run --period 1", "invalid period"),
        ("run --config /tmp/wrong.toml", "perod"),
        ("run --config /nonexistent", "cannot read the configuration"),
        ("sweep", "unrecognized subcommand"),
        ("run --frobnicate", "unexpected argument"),
    ];
    for (arguments, sentence) in cases {
        let output = stage.machine().node0().shell(&format!("watchdog {arguments}"))?;
        let said = format!("{}{}", output.text(), String::from_utf8_lossy(&output.stderr));
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(output.status == 2, "watchdog {arguments}: {output}");
        ensure!(said.contains(sentence), "watchdog {arguments}: not `{sentence}` in: {said}");
        ensure!(!said.contains("panicked"), "watchdog {arguments}: {said}");
    }
    let line = stage.machine().node0().shell("watchdog run --config /tmp/wrong.toml")?;
    ensure!(line.to_string().contains("line 1"), "{line}");
    let same =
        stage.machine().node0().shell(&format!("watchdog locate --node {main} --node {main}"))?;
    ensure!(same.status == 2 && same.to_string().contains("share memory"), "{same}");
    Ok(())
}

/// Check that every command asks an ordinary user to use sudo.
fn privilege(stage: &Stage) -> Result<()> {
    for command in ["run", "scan", "locate", "locate --node 0x38000000..0x50000000"] {
        let script = format!("setpriv --reuid 65534 --clear-groups watchdog {command}");
        let output = stage.machine().node0().shell(&script)?;
        ensure!(output.status == 2, "{command}: {output}");
        ensure!(output.to_string().contains("run it with sudo"), "{command}: {output}");
    }
    Ok(())
}

/// Check that `run` refuses a kernel without BTF, and one whose security modules cannot be listed,
/// and names the reason. `--degraded` must go on without a guard and report that.
fn no_btf(stage: &Stage) -> Result<()> {
    // This is not a mount namespace of its own: `run` would leave one and see the files.
    let hidden = |what: &str, command: &str| {
        let line = format!(
            "mount -t tmpfs none {what}; watchdog {command}; it=$?; umount {what}; exit $it"
        );
        stage.machine().node0().shell(&line)
    };
    for (what, sentence) in [
        ("/sys/kernel/btf", "CONFIG_DEBUG_INFO_BTF"),
        ("/sys/kernel/security", "mount -t securityfs"),
    ] {
        let output = hidden(what, "run")?;
        ensure!(output.status == 2 && output.to_string().contains(sentence), "{what}: {output}");
    }
    let mark = stage.mark()?;
    stage.shell("mount -t tmpfs none /sys/kernel/btf")?;
    let watchdog = stage.machine().node0().spawn(["watchdog", "run", "--degraded"])?;
    stage.wait_for(mark, "it goes on", |entry| entry.is("node-found"))?;
    watchdog.signal(15)?;
    let output = watchdog.wait(Duration::from_secs(60))?;
    ensure!(output.success(), "{output}");
    let entries = stage.entries(mark)?;
    ensure!(entries.iter().any(|entry| entry.is("guard-degraded")), "{entries:#?}");
    ensure!(!entries.iter().any(|entry| entry.is("guard-armed")), "{entries:#?}");
    Ok(())
}
