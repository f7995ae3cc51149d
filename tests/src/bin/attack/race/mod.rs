//! Many threads race to write to protected memory. Descriptors, positions, vectors, queue entries
//! and mappings change while a call that uses them runs.
//!
//! Each act is aimed at random at protected memory or at unprotected memory, so that real successes
//! occur. The kernel stores into mappings (by a `pread` into them): if a page is gone by then, the
//! result is an error and no signal. If a process of threads is ended by a signal anyway, the tally
//! counts that, and the next process continues.

mod calls;
mod mappings;
mod processes;
mod ring;
mod tally;
mod world;

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use self::processes::End;
use self::tally::Tally;
use self::world::{Random, World};

const PAGE: u64 = 4096;
/// How long one process of threads lives. Each has its own descriptors, mappings and seed.
const EPISODE: Duration = Duration::from_secs(10);

/// Parameters of the race.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// A protected page.
    pub(crate) target: u64,
    /// Four unprotected pages.
    pub(crate) via: u64,
    /// Where unprotected memory ends and protected memory begins.
    pub(crate) border: u64,
    pub(crate) seconds: u64,
    pub(crate) seed: u64,
}

/// What one thread does repeatedly.
struct Role {
    work: fn(&World, &mut Random),
    threads: u64,
    /// The thread sleeps between acts. When it wakes it preempts another thread immediately, at any
    /// point of that thread's code.
    ambushes: bool,
}

/// Roles of the threads that race in one process.
const RACERS: [Role; 18] = [
    Role { work: calls::write, threads: 1, ambushes: false },
    Role { work: calls::writev, threads: 1, ambushes: false },
    Role { work: calls::pwrite, threads: 1, ambushes: false },
    Role { work: calls::pwrite, threads: 1, ambushes: true },
    Role { work: calls::pwritev, threads: 1, ambushes: false },
    Role { work: calls::across_the_border, threads: 1, ambushes: false },
    Role { work: calls::after_a_refusal, threads: 1, ambushes: true },
    Role { work: calls::meddle, threads: 1, ambushes: false },
    Role { work: calls::meddle, threads: 1, ambushes: true },
    Role { work: ring::write, threads: 1, ambushes: false },
    Role { work: mappings::mmap, threads: 1, ambushes: false },
    Role { work: mappings::mmap, threads: 1, ambushes: true },
    Role { work: mappings::mprotect, threads: 1, ambushes: false },
    Role { work: mappings::remap_file_pages, threads: 1, ambushes: false },
    Role { work: mappings::remap_file_pages, threads: 2, ambushes: true },
    Role { work: mappings::move_and_store, threads: 1, ambushes: false },
    Role { work: processes::fork, threads: 1, ambushes: true },
    Role { work: processes::share, threads: 1, ambushes: true },
];

/// Threads to be preempted. They are in separate processes, so that no racer waits for their
/// mappings.
const BYSTANDERS: [Role; 1] = [Role { work: mappings::refused, threads: 1, ambushes: false }];

/// Processes of one episode.
const PROCESSES: [&[Role]; 3] = [&RACERS, &BYSTANDERS, &BYSTANDERS];

/// Races until the time is over. Returns the counters.
pub(crate) fn run(plan: Plan) -> io::Result<&'static Tally> {
    let tally = Tally::shared()?;
    let end = Instant::now() + Duration::from_secs(plan.seconds);
    let mut episode = 0;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        let seed = plan.seed.wrapping_add(episode << 32);
        let mut children = Vec::new();
        for (n, roles) in PROCESSES.iter().enumerate() {
            let (seed, time) = (seed ^ ((n as u64) << 16), left.min(EPISODE));
            children.push(processes::start(|| race(roles, plan, tally, seed, time))?);
        }
        for child in children {
            match processes::wait(child)? {
                End::Exited(0) => (),
                End::Exited(_) => {
                    return Err(io::Error::other("a process of threads could not be set up"));
                }
                End::Signalled(signal) => tally.signalled(signal),
            }
        }
        episode += 1;
    }
    Ok(tally)
}

/// Body of one process of threads.
fn race(roles: &[Role], plan: Plan, tally: &'static Tally, seed: u64, time: Duration) -> i32 {
    let mut random = Random::new(seed, 0);
    let world = match World::new(plan, tally, random.one_in(2)) {
        Ok(world) => world,
        Err(error) => {
            eprintln!("attack: {error}");
            return 1;
        }
    };
    world.settle();
    thread::scope(|scope| {
        let roles = roles.iter().flat_map(|role| (0..role.threads).map(move |_| role));
        for (n, role) in roles.enumerate() {
            let (world, mut random) = (&world, Random::new(seed, n as u64 + 1));
            scope.spawn(move || {
                if role.ambushes {
                    world::run_at_once();
                }
                while !world.is_over() {
                    // A thread that waits for a lock must get its turn beside threads that never
                    // wait.
                    if role.ambushes || random.one_in(16) {
                        thread::sleep(Duration::from_micros(50 + random.below(1000)));
                    }
                    (role.work)(world, &mut random);
                }
            });
        }
        thread::sleep(time);
        world.end();
    });
    0
}
