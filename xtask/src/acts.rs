//! The acts of the demo: what each shows. They can be listed before anything is built.

/// An act.
#[derive(Clone, Copy, Debug)]
pub struct Act {
    /// What it is called.
    pub title: &'static str,
    /// What is said before it.
    pub sentence: &'static str,
}

const fn act(title: &'static str, sentence: &'static str) -> Act {
    Act { title, sentence }
}

/// All acts, in order.
pub const ACTS: [Act; 12] = [
    act(
        "The watchdog finds both kernels",
        "On node 0, `systemctl start integrity-watchdog`, without any configuration. It \
                   arms its guard and looks for kernels in all memory that is not node 0's own. \
                   What \
                   it finds is compared with what the two nodes say of themselves.",
    ),
    act(
        "A healthy machine is left in peace",
        "Six seconds of sweeps, each of every page of both kernel texts; then `watchdog scan` \
                   judges both once more.",
    ),
    act(
        "A device changes one byte of node 1's kernel",
        "The host writes into the machine's memory, as a DMA attack would: no kernel is \
                   asked, no guard can see it. The next sweep does.",
    ),
    act(
        "Root on node 0 writes to node 2's text: write(2)",
        "An attacker who is root on node 0 opens /dev/mem and writes.",
    ),
    act("The same by a writable mapping", "mmap(2) of the text, shared and writable."),
    act(
        "The same by mprotect",
        "A read-only mapping, which is allowed, is made writable afterwards.",
    ),
    act(
        "Reading still works",
        "Node 0 must see the others' memory: that is what it watches them by.",
    ),
    act(
        "The attacker reaches for a driver",
        "A driver of node 0 maps a page of node 2's text into the attacker. That cannot be \
                   refused: the process is killed before it writes.",
    ),
    act(
        "The attacker switches the guard off",
        "`kernel.ftrace_enabled = 0` would turn the guard's programs into no-ops without \
                   detaching any. A program that does not hang on ftrace denies it.",
    ),
    act(
        "The attacker goes for the watchdog",
        "kill(2), the pins of the guard, the watchdog's executable: all of it is the \
                   guard's own.",
    ),
    act(
        "The watchdog is gone, the guard is not",
        "Process 1 may stop the watchdog. Writes are denied all the same, and the next \
                   watchdog tells who tried.",
    ),
    act(
        "Node 2 is started anew, by its own loader",
        "A loader has to write a node's memory, which the guard denies. By a lease it may: \
                   one executable, one node, some seconds. The watchdog waits and looks at the \
                   node \
                   anew.",
    ),
];

/// Prints the acts with their numbers.
pub fn list() {
    for (n, act) in ACTS.iter().enumerate() {
        println!("{:>3}  {}", n + 1, act.title);
    }
}
