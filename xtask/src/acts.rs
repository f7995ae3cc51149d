//! The acts of the demo, with what each shows. They can be listed before anything is built.

/// An act.
#[derive(Clone, Copy, Debug)]
pub struct Act {
    /// The title of the act.
    pub title: &'static str,
    /// The sentence printed before the act.
    pub sentence: &'static str,
}

const fn act(title: &'static str, sentence: &'static str) -> Act {
    Act { title, sentence }
}

/// All acts, in order.
pub const ACTS: [Act; 12] = [
    act(
        "The watchdog finds both kernels",
        "On node 0, `systemctl start integrity-watchdog`, without any configuration. It arms its \
         guard and searches all memory that is not node 0's own for kernels. The result is \
         compared with what the two nodes report about themselves.",
    ),
    act(
        "A healthy machine causes no alert",
        "Six seconds of sweeps, each over every page of both kernel texts. Then `watchdog scan` \
         judges both again.",
    ),
    act(
        "A device changes one byte of node 1's kernel",
        "The host writes into the machine's memory, as a DMA attack would. No kernel takes part \
         and no guard can see it. The next sweep detects it.",
    ),
    act(
        "Root on node 0 writes to node 2's text: write(2)",
        "An attacker who is root on node 0 opens /dev/mem and writes.",
    ),
    act("The same with a writable mapping", "mmap(2) of the text, shared and writable."),
    act(
        "The same with mprotect",
        "A read-only mapping is allowed. The attacker then makes it writable.",
    ),
    act("Reading still works", "Node 0 must read the memory of the other nodes to verify them."),
    act(
        "The attacker uses a driver",
        "A driver of node 0 maps a page of node 2's text into the attacker. No program can deny \
         that, so the guard kills the process before it writes.",
    ),
    act(
        "The attacker tries to switch the guard off",
        "`kernel.ftrace_enabled = 0` would turn the guard's programs into no-ops without \
         detaching any. A program that does not depend on ftrace denies it.",
    ),
    act(
        "The attacker attacks the watchdog",
        "kill(2), the pins of the guard, the watchdog's executable: the guard protects all of \
         them.",
    ),
    act(
        "The watchdog stops, the guard stays",
        "Process 1 may stop the watchdog. The guard still denies writes, and the next watchdog \
         reports them.",
    ),
    act(
        "Node 2's own loader restarts it",
        "A loader must write a node's memory, which the guard denies. A lease allows it: one \
         executable, one node, some seconds. The watchdog waits and then judges the node again.",
    ),
];

/// Prints the acts with their numbers.
pub fn list() {
    for (n, act) in ACTS.iter().enumerate() {
        println!("{:>3}  {}", n + 1, act.title);
    }
}
