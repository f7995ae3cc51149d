//! The table of an attacker's means in `docs/siege.md`, made from what the cases try.

use std::fmt::Write as _;

use super::debian::{Outcome, Use};
use super::{debian, mounts, processors, programs, starving};
use crate::cases::acts::Act;
use crate::cases::disarming::{FILES, PINS, PROCESS};

/// Outcomes.
const REFUSED: &str = "refused, reported";
const REPORTED: &str = "reported";
const HARMLESS: &str = "without effect";

/// Means that have cases of their own: the section, the means, the outcome under `standard` and
/// under `strict`, and the case.
const OTHERS: [[&str; 5]; 31] = [
    [
        "System calls",
        "the executable written while no process runs it",
        REFUSED,
        REFUSED,
        "disarm: the executable written while no process runs it",
    ],
    [
        "The trusted program",
        "a baseline imported over one that is kept",
        REFUSED,
        REFUSED,
        "disarm: a baseline imported",
    ],
    [
        "Processors",
        "what starts another node's processor open from before the guard",
        "killed, reported",
        "killed, reported",
        "siege: what starts a node's processor open from before the guard",
    ],
    [
        "eBPF",
        "a program that traces the kernel",
        "allowed",
        REFUSED,
        "siege: under strict no program that sees the kernel",
    ],
    [
        "eBPF",
        "programs for control groups and sockets",
        "allowed",
        "allowed",
        "siege: programs of services and tracers go on",
    ],
    [
        "eBPF",
        "another program behind the link of a list (BPF_LINK_UPDATE)",
        HARMLESS,
        HARMLESS,
        "siege: another program behind the list of mappings",
    ],
    [
        "eBPF",
        "a program loaded before the guard",
        "no guard is armed",
        "no guard is armed",
        "siege: a program that answers for a hook, from before the guard",
    ],
    [
        "eBPF",
        "the same, kept by process 1 (`FDSTORE=1`)",
        "no guard is armed",
        "no guard is armed",
        "siege: a program that answers for a hook, from before the guard",
    ],
    [
        "eBPF",
        "a program that spares the watchdog's process",
        REPORTED,
        REPORTED,
        "siege: a program that answers everybody but the watchdog",
    ],
    [
        "Mounts and names",
        "the same from a namespace that shares its mounts",
        REFUSED,
        REFUSED,
        "siege: the pins unmounted in a namespace that shares them",
    ],
    [
        "Mounts and names",
        "the pins unmounted all the same (policy `self = \"observe\"`)",
        REPORTED,
        REPORTED,
        "siege: the pins unmounted all the same",
    ],
    [
        "Mounts and names",
        "mounts in a namespace of one's own",
        "allowed",
        "allowed",
        "siege: containers and other folders mount as ever",
    ],
    [
        "Controllers and memory",
        "registers of interrupt controllers, clocks, PCI and devices by /dev/mem",
        REFUSED,
        REFUSED,
        "siege: devices' registers by /dev/mem",
    ],
    [
        "Controllers and memory",
        "reserved memory beside the nodes by /dev/mem",
        REFUSED,
        REFUSED,
        "siege: reserved memory beside the nodes by /dev/mem",
    ],
    [
        "Controllers and memory",
        "/dev/mem open in a socket's queue when the guard is armed",
        "judged at each use",
        REFUSED,
        "siege: /dev/mem in a socket's queue when the guard is armed",
    ],
    [
        "Controllers and memory",
        "/dev/mem open in an io_uring when the guard is armed",
        "judged at each use",
        REFUSED,
        "siege: /dev/mem in an io_uring when the guard is armed",
    ],
    [
        "The trusted program",
        "its other commands, had to write what is kept",
        REFUSED,
        REFUSED,
        "robust: commands that the guard does not trust write nothing that it keeps",
    ],
    [
        "The trusted program",
        "a watch that looks seldom",
        "no guard is armed",
        "no guard is armed",
        "siege: a watch that looks seldom, or without its baselines",
    ],
    [
        "The trusted program",
        "the next watchdog begun with a `/proc` whose `self/exe` is another program",
        "the other is not trusted",
        "the other is not trusted",
        "siege: the next watchdog in a world that was made for it",
    ],
    [
        "The trusted program",
        "the next watchdog begun in mounts with another journal, memory device, control groups \
         and pins",
        "it goes by those of process 1",
        "it goes by those of process 1",
        "siege: the next watchdog in a world that was made for it",
    ],
    [
        "The trusted program",
        "the next watchdog begun so that it shares its root with another process (CLONE_FS)",
        "it has its own",
        "it has its own",
        "siege: a root that the next watchdog shares",
    ],
    [
        "The trusted program",
        "another file over /dev/mem, or another group over that of all processes, for the next \
         watchdog",
        "no guard is armed",
        "no guard is armed",
        "siege: files that the next watchdog is to take for others",
    ],
    [
        "The trusted program",
        "the next watchdog begun with files of its own to keep",
        "both are kept",
        "both are kept",
        "siege: the next watchdog in a world that was made for it",
    ],
    [
        "The trusted program",
        "the next watchdog kept from kernel addresses (kernel.kptr_restrict=2), or given other \
         clocks",
        "no guard is armed",
        "no guard is armed",
        "siege: kernel facts that the next watchdog cannot know",
    ],
    [
        "The trusted program",
        "a uprobe in its executable",
        "killed, reported",
        "killed, reported",
        "siege: probes in the watchdog's executable",
    ],
    [
        "The trusted program",
        "`guard disarm` where the journal does not hear it",
        "refused, or reported",
        "refused, or reported",
        "siege: a guard that is taken down unheard",
    ],
    [
        "Starving",
        "`systemctl kill` with signals that end no service",
        HARMLESS,
        HARMLESS,
        "robust: signals that process 1 is asked to send",
    ],
    [
        "The journal",
        "journald stopped for a while",
        "reported later",
        "reported later",
        "robust: a journal that is away for some seconds",
    ],
    [
        "The journal",
        "the next watchdog begun where the journal does not hear it",
        "no guard is taken over",
        "no guard is taken over",
        "robust: a journal that does not hear the next watchdog",
    ],
    [
        "The journal",
        "another process in the place of journald for a while",
        "reported later",
        "reported later",
        "robust: a journal whose name another process takes",
    ],
    [
        "The journal",
        "a filter at journald's socket, or a BPF map that has it, for a while",
        "reported later",
        "reported later",
        "robust: a journal whose socket has a filter",
    ],
];

/// The sections, in order.
const SECTIONS: [&str; 8] = [
    "System calls",
    "eBPF",
    "Mounts and names",
    "Controllers and memory",
    "Processors",
    "The trusted program",
    "Starving",
    "The journal",
];

/// The table, in Markdown.
fn table() -> String {
    let mut text = "| means | `standard` | `strict` |\n|---|---|---|\n".to_owned();
    for section in SECTIONS {
        let _ = writeln!(text, "| **{section}** | | |");
        for [means, standard, strict] in rows(section) {
            let _ = writeln!(text, "| {means} | {standard} | {strict} |");
        }
    }
    text
}

fn rows(section: &str) -> Vec<[String; 3]> {
    let acts: Vec<&Act> = match section {
        "System calls" => PROCESS.iter().chain(&PINS).chain(&FILES).collect(),
        "eBPF" => programs::ACTS.iter().collect(),
        "Mounts and names" => mounts::ACTS.iter().collect(),
        "Processors" => processors::ACTS.iter().collect(),
        "Starving" => starving::ACTS.iter().collect(),
        _ => Vec::new(),
    };
    let of =
        |means: &str, standard: &str, strict: &str| [means, standard, strict].map(str::to_owned);
    let mut rows: Vec<_> = acts.iter().map(|it| of(it.means, REFUSED, REFUSED)).collect();
    let others = OTHERS.iter().filter(|[it, ..]| *it == section);
    rows.extend(others.map(|[_, means, standard, strict, _]| of(means, standard, strict)));
    rows
}

/// What happens to programs of Debian, in Markdown.
fn beside() -> String {
    let mut text = "| a program of Debian | `standard` | `strict` |\n|---|---|---|\n".to_owned();
    let word = |outcome| match outcome {
        Outcome::Works => "goes on",
        Outcome::Refused(_) => REFUSED,
        Outcome::Lacks(_) => "goes on; part of it is refused, and reported",
    };
    for Use { means, standard, strict, .. } in &debian::USES {
        let _ = writeln!(text, "| {means} | {} | {} |", word(*standard), word(*strict));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{cache, cases};

    const END: &str = "<!-- until here -->\n";

    /// Check that the case of each row exists, that every section is known, and that the
    /// documentation has the tables that the cases make. With `WATCHDOG_WRITE_DOCS`, the test
    /// writes the tables.
    #[test]
    fn documented() {
        let all = cases::all();
        for [section, means, .., case] in OTHERS {
            assert!(SECTIONS.contains(&section), "{section}");
            assert!(all.iter().any(|it| it.name == case), "{means}: no case `{case}`");
        }
        let path = cache::project_root().join("docs/siege.md");
        let mut text = fs::read_to_string(&path).expect("docs/siege.md");
        let found = text.clone();
        for (begin, made) in [
            ("<!-- made from the cases: -->\n", table()),
            ("<!-- made from the programs: -->\n", beside()),
        ] {
            let (before, rest) = text.split_once(begin).expect("a beginning");
            let (_, behind) = rest.split_once(END).expect("an end");
            text = format!("{before}{begin}{made}{END}{behind}");
        }
        if std::env::var_os("WATCHDOG_WRITE_DOCS").is_some() {
            fs::write(&path, text).expect("written");
        } else {
            assert_eq!(found, text, "write it again with WATCHDOG_WRITE_DOCS=1");
        }
    }
}
