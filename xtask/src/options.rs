//! What can be asked of `cargo xtask`, and of the program `node-machine` that it starts.

use std::path::PathBuf;
use std::process::ExitCode;

use bpaf::{Args, OptionParser, ParseFailure, Parser, construct, long, positional, pure};

use crate::kernels;
use crate::own_kernels::{self, OwnKernel};

/// Columns that help may fill.
const WIDTH: usize = 90;

/// A chore.
#[derive(Clone, Debug)]
pub enum Command {
    /// Fetch and install what the project needs.
    Setup(Setup),
    /// Build kernels of one's own configuration.
    Kernels(Kernels),
    /// Survey the kernels that Debian offers.
    Survey(Survey),
    /// Build the watchdog and the guests' programs.
    Build,
    /// Boot the node machine.
    Machine(Machine),
    /// Play the main job.
    Demo(Demo),
    /// Run the tests.
    Test(Test),
    /// Check spelling and dependencies.
    Lint,
    /// Feed hostile memory to what reads memory.
    Fuzz(Fuzz),
    /// Measure what the guard costs.
    Bench(Bench),
}

/// `cargo xtask setup`.
#[derive(Clone, Debug)]
pub struct Setup {
    /// By Debian's suite or by version, with a flavour if need be.
    pub kernels: Vec<String>,
    /// Look for newer kernels.
    pub refresh: bool,
}

/// `cargo xtask kernels`.
#[derive(Clone, Debug)]
pub struct Kernels {
    /// The kernels to build.
    pub kernels: Vec<OwnKernel>,
    /// Look for newer sources.
    pub refresh: bool,
}

/// `cargo xtask survey`.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Every kernel, not only the newest of each version.
    pub all: bool,
    /// Only what the cache has.
    pub offline: bool,
}

/// `cargo xtask machine`.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Node 0's kernel.
    pub kernel: String,
    /// The service nodes' kernel, where it is another.
    pub node_kernel: Option<String>,
    /// Service nodes.
    pub nodes: u8,
    /// Load every kernel at its default place.
    pub nokaslr: bool,
    /// MiB.
    pub memory: u32,
    /// Words for node 0's command line.
    pub append: String,
    /// Words for the service nodes' command lines.
    pub node_append: String,
    /// The processors' model.
    pub cpu: String,
}

/// `cargo xtask demo`.
#[derive(Clone, Debug)]
pub struct Demo {
    /// Of every node.
    pub kernel: String,
    /// Numbers of acts, from 1; all where there are none.
    pub acts: Vec<usize>,
    /// Only say what the acts are.
    pub list: bool,
    /// Where a recording goes.
    pub record: Option<PathBuf>,
}

/// `cargo xtask test`.
#[derive(Clone, Debug)]
pub struct Test {
    /// To boot; all of [`kernels::VERSIONS`] where there are none.
    pub kernels: Vec<String>,
    /// Only tests whose name contains this.
    pub filter: String,
    /// Every case on each kernel.
    pub every_kernel: bool,
    /// Also the tests on kernels of one's own configuration.
    pub own_kernels: bool,
    /// Only what takes little time.
    pub quick: bool,
    /// Only what failed last.
    pub again: bool,
    /// Seconds of sweeps without an alert.
    pub soak: u64,
    /// Seconds of races.
    pub races: u64,
    /// How often kernels are damaged.
    pub damage: usize,
    /// Random toggles of each kernel.
    pub toggles: usize,
    /// Part of the name of the processors to emulate; a few where it is empty.
    pub processors: String,
}

/// `cargo xtask fuzz`.
#[derive(Clone, Debug)]
pub struct Fuzz {
    /// Names; all where there are none.
    pub targets: Vec<String>,
    /// For each target.
    pub seconds: u64,
    /// An image of memory to make seeds of, in place of fuzzing.
    pub seeds: Option<PathBuf>,
}

/// `cargo xtask bench`.
#[derive(Clone, Debug)]
pub struct Bench {
    /// All of [`kernels::VERSIONS`] where there are none.
    pub kernels: Vec<String>,
    /// How often each state is measured.
    pub rounds: usize,
    /// How often a work is done each time.
    pub works: usize,
    /// Count instructions in place of time, and put them on record.
    pub instructions: bool,
}

/// Takes the command line; what is wrong with it, or asked of it, is said.
///
/// # Errors
/// The status to exit with: 2 where the command line is wrong, 0 after help.
pub fn parse() -> Result<Command, ExitCode> {
    commands().run_inner(Args::current_args().set_name("cargo xtask")).map_err(|failure| {
        failure.print_message(WIDTH);
        ExitCode::from(if matches!(failure, ParseFailure::Stderr(_)) { 2 } else { 0 })
    })
}

fn commands() -> OptionParser<Command> {
    let setup = command("setup", "Fetch and install everything that the project needs", setup());
    let kernels = command(
        "kernels",
        "Build kernels of one's own configuration: a few minutes each",
        own_kernels(),
    );
    let survey = command("survey", "Import every kernel that Debian offers", survey());
    let build =
        command("build", "Build the watchdog and the guests' programs", pure(Command::Build));
    let machine =
        command("machine", "Boot the node machine and open a console on node 0", machine());
    let demo = command(
        "demo",
        "Show what the watchdog does, act by act, on a machine of three kernels",
        demo(),
    );
    let test = command("test", "Run every test, with one summary", test());
    let lint = command("lint", "Check spelling and dependencies", pure(Command::Lint));
    let fuzz = command("fuzz", "Fuzz everything that reads foreign memory", fuzz());
    let bench = command("bench", "Measure what the guard adds to system calls and work", bench());
    construct!([demo, test, lint, setup, kernels, survey, build, machine, bench, fuzz])
        .to_options()
        .descr("The project's tasks. Each task installs what it needs, and says what it does.")
}

fn command<T: 'static>(
    name: &'static str,
    help: &'static str,
    options: impl Parser<T> + 'static,
) -> impl Parser<T> {
    options.to_options().descr(help).command(name).help(help)
}

fn setup() -> impl Parser<Command> {
    let kernels = kernels("Kernel to fetch, by suite (sid) or version (6.12, 6.12-rt-amd64)");
    let refresh = long("refresh").help("Ask the mirror for newer kernels and fetch them").switch();
    construct!(Setup { kernels, refresh }).map(Command::Setup)
}

fn own_kernels() -> impl Parser<Command> {
    let refresh = long("refresh").help("Ask the mirror for a newer source and build it").switch();
    let kernels = positional::<String>("NAME")
        .help("Kernel to build, by its fragment in xtask/own-kernels [default: all]")
        .many()
        .parse(|names| own_kernels::named(&names));
    construct!(Kernels { refresh, kernels }).map(Command::Kernels)
}

fn survey() -> impl Parser<Command> {
    let all = long("all")
        .help("Every kernel [default: the newest of each suite, version and flavour]")
        .switch();
    let offline = long("offline").help("Only the kernels that were fetched before").switch();
    construct!(Survey { all, offline }).map(Command::Survey)
}

fn machine() -> impl Parser<Command> {
    let kernel = kernel("Kernel of node 0, by version or suite (6.12-rt-amd64, sid)");
    let node_kernel = long("node-kernel")
        .help("Kernel of the service nodes [default: as node 0]")
        .argument("KERNEL")
        .optional();
    let nodes = number("nodes", "Number of service nodes", 2);
    let nokaslr = long("nokaslr").help("Load every kernel at its default address").switch();
    let memory = number("memory", "The machine's memory in MiB", 2048);
    let append = long("append")
        .help("Words to add to node 0's kernel command line")
        .argument("WORDS")
        .fallback(String::new());
    let node_append = long("node-append")
        .help("Words to add to the service nodes' kernel command lines")
        .argument("WORDS")
        .fallback(String::new());
    let cpu = long("cpu")
        .help("Model of the processors, with properties, as QEMU's -cpu: EPYC-Milan")
        .argument("MODEL")
        .fallback("max".to_owned())
        .display_fallback();
    construct!(Machine { kernel, node_kernel, nodes, nokaslr, memory, append, node_append, cpu })
        .map(Command::Machine)
}

fn demo() -> impl Parser<Command> {
    let kernel = kernel("Kernel of every node, by version or suite");
    let acts = long("acts")
        .help("Only these acts, by number: 1,3,4 [default: all]")
        .argument::<String>("N,…")
        .parse(|list| numbers(&list))
        .fallback(Vec::new());
    let list = long("list").help("List the acts without playing them").switch();
    let record = long("record")
        .help("Play all acts, and write a recording of the terminal to FILE.cast and FILE.svg")
        .argument("FILE")
        .optional();
    construct!(Demo { kernel, acts, list, record }).map(Command::Demo)
}

fn test() -> impl Parser<Command> {
    let kernels = kernels("Kernel to boot; repeat for more [default: 6.1, 6.12, 7.2]");
    let filter = long("case")
        .help("Only machine tests whose name contains this: 'guard:', '6.12 lease'")
        .argument("TEXT")
        .fallback(String::new());
    let every_kernel = long("every-kernel")
        .help("Every case on each kernel [default: in a run of all tests, some take turns]")
        .switch();
    let own_kernels = long("own-kernels")
        .help("Also build kernels of one's own configuration, and run the tests on them")
        .switch();
    let quick = long("quick").help("Unit tests, fuzz seeds and a few cases on 6.1").switch();
    let again = long("again").help("Only the tests that failed in the last run").switch();
    let soak =
        number("soak", "Seconds of sweeps over a healthy machine that must cause no alert", 10);
    let races = number("races", "Seconds of races against the guard", 5);
    let damage = number("damage", "How often kernels are damaged at random, in all", 300);
    let toggles = number("toggles", "Random toggles that rewrite each kernel's text", 40);
    let processors = long("processors")
        .help("Models and command lines that contain this, or `all` [default: a few]")
        .argument("TEXT")
        .fallback(String::new());
    construct!(Test {
        kernels,
        filter,
        every_kernel,
        own_kernels,
        quick,
        again,
        soak,
        races,
        damage,
        toggles,
        processors
    })
    .map(Command::Test)
}

fn fuzz() -> impl Parser<Command> {
    let targets = long("target")
        .help("Target, by its file in watchdog/fuzz/fuzz_targets; repeat for more [default: all]")
        .argument("NAME")
        .many();
    let seconds = number("seconds", "Seconds to run each target", 60)
        .guard(|seconds| *seconds > 0, "a run takes at least one second");
    let seeds = long("seeds")
        .help("Only make seeds, from made-up kernels and from this image of a machine's memory")
        .argument("RAW_IMAGE")
        .optional();
    construct!(Fuzz { targets, seconds, seeds }).map(Command::Fuzz)
}

fn bench() -> impl Parser<Command> {
    let kernels = kernels("Kernel to measure; repeat for more [default: 6.1, 6.12, 7.2]");
    let rounds = number("rounds", "How often each state is measured, in alternation", 5);
    let works = number("works", "How often a work is done each time", 3);
    let instructions = long("instructions")
        .help("Count instructions and write them to tests/instructions.tsv")
        .switch();
    construct!(Bench { kernels, rounds, works, instructions }).map(Command::Bench)
}

fn kernel(help: &'static str) -> impl Parser<String> {
    long("kernel").help(help).argument("KERNEL").fallback("6.1".to_owned()).display_fallback()
}

fn kernels(help: &'static str) -> impl Parser<Vec<String>> {
    long("kernel").help(help).argument("KERNEL").many()
}

fn number<T>(name: &'static str, help: &'static str, default: T) -> impl Parser<T>
where
    T: std::str::FromStr<Err: std::fmt::Display> + std::fmt::Display + Clone + 'static,
{
    long(name).help(help).argument("N").fallback(default).display_fallback()
}

fn numbers(list: &str) -> Result<Vec<usize>, String> {
    let number = |word: &str| word.trim().parse().map_err(|_| format!("`{word}` is not a number"));
    list.split(',').map(number).collect()
}

/// These kernels, or all where there are none.
#[must_use]
pub fn chosen(kernels: &[String]) -> Vec<&str> {
    match kernels {
        [] => kernels::VERSIONS.to_vec(),
        some => some.iter().map(String::as_str).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that the definitions of all options fit together, and that defaults are what help
    /// says.
    #[test]
    fn options() {
        commands().check_invariants(false);
        let parsed = |line: &[&str]| commands().run_inner(line);
        let Ok(Command::Demo(demo)) = parsed(&["demo", "--acts", "1,3"]) else { panic!("no demo") };
        assert_eq!((demo.kernel.as_str(), demo.acts), ("6.1", vec![1, 3]));
        let Ok(Command::Test(test)) = parsed(&["test", "--kernel", "6.12", "--quick"]) else {
            panic!("no test")
        };
        assert_eq!((test.kernels.as_slice(), test.quick), (["6.12".to_owned()].as_slice(), true));
        assert!(parsed(&["demo", "--acts", "1,x"]).is_err());
        assert!(parsed(&[]).is_err());
    }
}
