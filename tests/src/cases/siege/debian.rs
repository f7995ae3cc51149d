//! Programs of Debian that use the same means as attackers: which ones work beside the guard, and
//! which ones it refuses.

use anyhow::{Result, ensure};

use crate::bpf_object;
use crate::cases::disarming::goes_on;
use crate::cases::guard::configured;
use crate::cases::snapshots::STRICT;
use crate::cases::{List, Stage, Start};

pub(in crate::cases) const CASES: List =
    &[("siege: programs of Debian beside the guard", Start::Learned, beside)];

/// What happens to a program under the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It works as it does without a guard, and there is no alert.
    Works,
    /// It ends with an error, and the attempt is reported with this path.
    Refused(&'static str),
    /// It succeeds without the part that is refused, which is reported with this path.
    Lacks(&'static str),
}
use Outcome::{Lacks, Refused, Works};

/// One use of a program.
pub(super) struct Use {
    /// A description for people.
    pub(super) means: &'static str,
    line: &'static str,
    pub(super) standard: Outcome,
    pub(super) strict: Outcome,
    /// Whether the version of Debian 12 supports every kernel. A tool that belongs to one kernel
    /// may not.
    is_general: bool,
}

const fn general(
    means: &'static str,
    line: &'static str,
    standard: Outcome,
    strict: Outcome,
) -> Use {
    Use { means, line, standard, strict, is_general: true }
}

pub(super) const USES: [Use; 10] = [
    general(
        "a container (`crun`)",
        "crun --cgroup-manager=cgroupfs run --bundle /tmp/container tested",
        Works,
        Works,
    ),
    general(
        "a service with rules for devices, addresses, sockets and interfaces (systemd)",
        "systemd-run --wait --quiet -p DevicePolicy=closed -p IPAddressDeny=any \
             -p SocketBindDeny=any -p RestrictNetworkInterfaces=lo true",
        Works,
        Works,
    ),
    general(
        "a program at a network interface (`ip link set xdp`)",
        "ip link set dev lo xdpgeneric object /tmp/xdp.o section xdp && \
             ip link show dev lo | grep -q xdpgeneric && ip link set dev lo xdpgeneric off",
        Works,
        Works,
    ),
    general(
        "a program that classifies packets (`tc filter add bpf`)",
        "tc qdisc add dev lo clsact && \
             tc filter add dev lo ingress bpf direct-action object-file /tmp/tc.o section tc && \
             tc qdisc del dev lo clsact",
        Works,
        Works,
    ),
    general(
        "a program that redirects connections, pinned (`bpftool`, as Cilium's agent does)",
        "bpftool prog load /tmp/connect4.o /sys/fs/bpf/connect4 && \
             bpftool cgroup attach /sys/fs/cgroup/init.scope connect4 pinned /sys/fs/bpf/connect4 \
             && \
             bpftool cgroup detach /sys/fs/cgroup/init.scope connect4 pinned /sys/fs/bpf/connect4 \
             && \
             rm /sys/fs/bpf/connect4",
        Works,
        Works,
    ),
    general(
        "the list of programs (`bpftool prog show`), up to the guard's first",
        "bpftool prog show",
        Refused("self"),
        Refused("self"),
    ),
    general(
        "the list of tables (`bpftool map show`), up to the guard's first",
        "bpftool map show",
        Refused("self"),
        Refused("self"),
    ),
    general(
        "what the kernel has (`bpftool feature probe`)",
        "bpftool feature probe",
        Lacks("bpf"),
        Lacks("bpf"),
    ),
    Use {
        means: "tracing (`bpftrace`)",
        line: "bpftrace -e 'kprobe:do_nanosleep { @n = count(); } interval:ms:100 { exit(); }'",
        standard: Works,
        strict: Refused("bpf-tracing"),
        is_general: false,
    },
    Use {
        means: "tracing that signals processes (`bpftrace --unsafe`)",
        line: "bpftrace --unsafe -e 'kprobe:do_nanosleep /comm == \"none\"/ { signal(9); } \
                   interval:ms:100 { exit(); }'",
        standard: Refused("bpf"),
        strict: Refused("bpf-tracing"),
        is_general: false,
    },
];

/// Check what each program does without a guard, under `standard` and under `strict`.
fn beside(stage: &Stage) -> Result<()> {
    let node0 = stage.machine().node0();
    for (section, verdict) in [("xdp", 2), ("tc", 0), ("cgroup/connect4", 1)] {
        let name = section.rsplit('/').next().unwrap_or(section);
        let object = bpf_object::returning(section, verdict)?;
        node0.write(&format!("/tmp/{name}.o"), 0o644, &object)?;
    }
    stage.shell(
        "mkdir -p /tmp/container/rootfs && mount --bind / /tmp/container/rootfs
         cd /tmp/container && crun spec
         sed -i 's/\"terminal\": true/\"terminal\": false/; s/\"sh\"/\"true\"/' config.json",
    )?;
    let mut known = Vec::new();
    for it in &USES {
        let alone = node0.shell(it.line)?;
        ensure!(alone.success() || !it.is_general, "without a guard, {}: {alone}", it.means);
        if alone.success() {
            known.push(it);
        } else {
            stage.note(&format!("{} does not work here, guard or not: {alone}", it.means));
        }
    }
    configured(stage, "", || known.iter().try_for_each(|it| tried(stage, it, it.standard)))?;
    configured(stage, STRICT, || known.iter().try_for_each(|it| tried(stage, it, it.strict)))
}

fn tried(stage: &Stage, it: &Use, expected: Outcome) -> Result<()> {
    let (mark, watchdog) = (stage.mark()?, stage.watchdog()?);
    let output = stage.machine().node0().shell(it.line)?;
    let said = format!("{} ({expected:?}): {output}", it.means);
    ensure!(output.success() != matches!(expected, Refused(_)), "{said}");
    match expected {
        Works => {
            let mut alerts = stage.alerts(mark)?;
            // Leave out the attempt that `goes_on` made before.
            alerts.retain(|entry| entry.field("WATCHDOG_COMM") != "attack");
            ensure!(alerts.is_empty(), "{said}\n{alerts:#?}");
        }
        Refused(path) | Lacks(path) => {
            stage.wait_for(mark, it.means, |entry| {
                entry.field("WATCHDOG_PATH") == path && entry.field("WATCHDOG_ACTION") == "denied"
            })?;
        }
    }
    goes_on(stage, watchdog)
}
