//! A whole store on one thread, in virtual time, from one seed: its shards, clients that take,
//! search, cancel and crowd, and devices that are slow, wrong, silent or dead.
//!
//! The shards run the loop that they run in service (`shard/shard_loop.rs`), under an executor that polls
//! whatever can go on in an order of the seed's. The property: every answer is right or an error
//! that names its cause, comes by its deadline, and in the end nothing is left in flight, admitted
//! or lent. A seed that fails says so, and `RINGTAKE_SEED` plays it again, step for step.

mod client;
mod device;
mod unreliable;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::client::store::Store;
use crate::config::{
    CacheChoice, Config, CpuChoice, CustomPath, DepthControl, Limits, Observe, ReadPathChoice,
};
use crate::host::clock::{self, virtual_time::Stopped};
use crate::shard::local::LocalFuture;
use crate::shard::thread::TAKE_OVER;
use client::Report;
use device::{Device, Injected, Kind};

/// The faults, clients and clock of a simulated world.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Reads out of a thousand, for each kind of fault.
    faults: [(Kind, u32); Kind::COUNT],
    /// The shard whose device dies, and the reads after which it does.
    dies: Option<(usize, u32)>,
    clients: usize,
    queries: usize,
    /// Whether every take has a deadline: reads may never come.
    deadlines: bool,
    /// Whether the clock leaps, as it does for a process that was stopped or a machine that was
    /// suspended, and stands while reads are completed, as a coarse or virtual one may.
    odd_clock: bool,
}

/// Counts of odd behaviour of the clock.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Oddities {
    leaps: u64,
    stands: u64,
}

/// The state that devices and clients of a simulation share.
struct World {
    plan: Plan,
    tasks: Vec<LocalFuture>,
    injected: Vec<Injected>,
    /// Reads that were to come never come now.
    released: bool,
    /// Until when the clock has leapt last.
    leapt_to: Instant,
    /// The clock stands.
    stands: bool,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

fn world<T>(look: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow_mut(|world| look(world.as_mut().expect("a simulation is on")))
}

/// Takes a task over.
fn adopt(task: LocalFuture) {
    world(|world| world.tasks.push(task));
}

/// Takes over the life of a shard, which is polled once: it then tells how it has started.
fn start(mut shard: LocalFuture) {
    let polled = shard.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    if polled.is_pending() {
        adopt(shard);
    }
}

/// A task and whether it was woken.
struct Task {
    future: LocalFuture,
    woken: Arc<Woken>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

impl Task {
    fn new(future: LocalFuture) -> Task {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        Task { future, woken }
    }

    /// Whether it has ended, by itself or by a panic.
    fn poll(&mut self) -> bool {
        self.woken.0.store(false, Ordering::Release);
        let waker = Waker::from(self.woken.clone());
        let polled = catch_unwind(AssertUnwindSafe(|| {
            self.future.as_mut().poll(&mut Context::from_waker(&waker))
        }));
        !matches!(polled, Ok(Poll::Pending))
    }
}

/// Virtual time after which a world that goes on is one that hangs.
const HANGS: Duration = Duration::from_secs(30);
/// Polls after the end in which what is in flight must come to rest.
const SETTLES: usize = 200_000;

/// A simulated world: its clock, its tasks and the choice of the next one.
struct Simulation {
    clock: Stopped,
    random: ChaCha8Rng,
    tasks: Vec<Task>,
    began: Instant,
    odd: Oddities,
    /// By how much the clock has leapt in all.
    leapt: Duration,
    /// Steps for which the clock stands still.
    stands_for: u32,
}

impl Drop for Simulation {
    fn drop(&mut self) {
        // Tasks may use the world when they are dropped.
        self.tasks.clear();
        TAKE_OVER.set(None);
        let world = WORLD.with_borrow_mut(Option::take);
        drop(world);
    }
}

impl Simulation {
    fn new(seed: u64, plan: Plan) -> Simulation {
        let clock = Stopped::new();
        TAKE_OVER.set(Some(start));
        WORLD.with_borrow_mut(|world| {
            *world = Some(World {
                plan,
                tasks: Vec::new(),
                injected: Vec::new(),
                released: false,
                leapt_to: clock::now(),
                stands: false,
            });
        });
        Simulation {
            random: ChaCha8Rng::seed_from_u64(seed ^ 0x0005_c4ed),
            clock,
            tasks: Vec::new(),
            began: clock::now(),
            odd: Oddities::default(),
            leapt: Duration::ZERO,
            stands_for: 0,
        }
    }

    /// Polls one of the tasks that were woken; time passes.
    fn step(&mut self) {
        let adopted = world(|world| std::mem::take(&mut world.tasks));
        self.tasks.extend(adopted.into_iter().map(Task::new));
        let ready: Vec<usize> = (0..self.tasks.len())
            .filter(|&task| self.tasks[task].woken.0.load(Ordering::Acquire))
            .collect();
        if !ready.is_empty() {
            let chosen = ready[self.random.random_range(0..ready.len())];
            if self.tasks[chosen].poll() {
                self.tasks.swap_remove(chosen);
            }
        }
        let passes = self.random.random_range(1..20);
        match self.stands_for.checked_sub(1) {
            Some(left) => self.stands_for = left,
            None => self.clock.advance(Duration::from_micros(passes)),
        }
        if world(|world| world.plan.odd_clock) {
            self.disturb_clock();
        }
    }

    /// Steps until `done`, or for as long as everything in flight may take to come to rest.
    fn step_until(&mut self, done: impl Fn(&Simulation) -> bool) {
        for _ in 0..SETTLES {
            if done(self) {
                return;
            }
            self.step();
        }
    }

    fn disturb_clock(&mut self) {
        match self.random.random_range(0..200) {
            0 => {
                let leap = Duration::from_millis(self.random.random_range(1..5_000));
                self.clock.advance(leap);
                self.leapt += leap;
                self.odd.leaps += 1;
                world(|world| world.leapt_to = clock::now());
            }
            1 => {
                self.stands_for = self.random.random_range(10..500);
                self.odd.stands += 1;
            }
            _ => {}
        }
        world(|world| world.stands = self.stands_for > 0);
    }
}

/// The result of one seed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Outcome {
    reports: Vec<Report>,
    injected: [u64; Kind::COUNT],
    odd: Oddities,
}

/// Opens a store whose shards this thread polls and whose devices are simulated.
fn open(dataset: &Path, seed: u64, shards: usize, crowded: bool, random: &mut ChaCha8Rng) -> Store {
    let config = Config {
        shards: Some(shards),
        cpus: CpuChoice::Unpinned,
        queue_depth: [4, 8, 32][random.random_range(0..3)],
        depth_control: if random.random_bool(0.5) {
            DepthControl::Fixed
        } else {
            DepthControl::Knee
        },
        cache: CacheChoice::Bytes(random.random_range(0..3) << 19),
        read_path: ReadPathChoice::Custom(CustomPath::new(move |shard, files| {
            Box::new(Device::new(seed, shard, files))
        })),
        result_memory_bytes: random.random_range(0..2) << 20,
        limits: Limits {
            takes_in_flight_max: if crowded { 4 } else { 64 },
            ..Limits::default()
        },
        observe: Observe {
            metrics: random.random_bool(0.5),
            ..Observe::default()
        },
        ..Config::default()
    };
    Store::open(dataset, config).expect("the store opens")
}

/// Whether no permit is held and no memory lent.
fn is_at_rest(store: &Store) -> bool {
    let held = store.permits();
    held.windows + held.reads + held.bytes == 0 && store.results_are_whole()
}

/// Lives through one seed.
fn live(seed: u64, dataset: &Path) -> Outcome {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let shards = random.random_range(1..=4);
    let plan = plan(seed, shards, &mut random);
    let mut simulation = Simulation::new(seed, plan);
    let store = open(dataset, seed, shards, plan.clients > 8, &mut random);
    let reports: Arc<std::sync::Mutex<Vec<Report>>> = Arc::default();
    let began = simulation.began;
    for client in 0..plan.clients {
        let seed = random.random();
        let life = client::life(client, seed, plan, store.clone(), reports.clone(), began);
        adopt(Box::pin(life));
    }
    let all = plan.clients * plan.queries;
    while reports.lock().expect("no client has panicked").len() < all {
        simulation.step();
        assert!(
            clock::now() - simulation.began - simulation.leapt < HANGS,
            "seed {seed}: {} of {all} queries have no answer",
            all - reports.lock().expect("no client has panicked").len(),
        );
    }
    world(|world| world.released = true);
    simulation.step_until(|_| is_at_rest(&store));
    assert!(
        is_at_rest(&store),
        "seed {seed}: {:?} are still held, or memory is still lent",
        store.permits()
    );
    store.close();
    drop(store);
    // A shard ends when nothing of it is in flight.
    simulation.step_until(|simulation| simulation.tasks.is_empty());
    assert!(
        simulation.tasks.is_empty(),
        "seed {seed}: a shard does not end"
    );
    let mut injected = [0; Kind::COUNT];
    world(|world| {
        for fault in &world.injected {
            injected[fault.kind as usize] += 1;
        }
    });
    let reports = std::mem::take(&mut *reports.lock().expect("no client has panicked"));
    Outcome {
        reports,
        injected,
        odd: simulation.odd,
    }
}

/// The faults of this seed: each kind of world in turn.
fn plan(seed: u64, shards: usize, random: &mut ChaCha8Rng) -> Plan {
    let share = random.random_range(5..60);
    let of = |kinds: &[Kind]| {
        Kind::ALL.map(|kind| (kind, if kinds.contains(&kind) { share } else { 0 }))
    };
    use Kind::{Again, Error, Flipped, Misdirected, Never, Short};
    let (kinds, deadlines): (&[Kind], bool) = match seed % 8 {
        0 => (&[], false),
        1 => (&[Error], false),
        2 => (&[Flipped, Misdirected], false),
        3 => (&[Short, Again], false),
        4 => (&[Never], true),
        5 => (&Kind::ALL, true),
        6 => (&[Short, Again], false),
        _ => (&[Error, Flipped, Misdirected, Short, Again], false),
    };
    let dies = (seed % 8 == 6).then(|| {
        let reads = random.random_range(0..60);
        (random.random_range(0..shards), reads)
    });
    Plan {
        faults: of(kinds),
        dies,
        clients: random.random_range(1..=16),
        queries: random.random_range(1..=8),
        deadlines,
        odd_clock: seed % 5 == 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(variable: &str) -> Option<u64> {
        std::env::var(variable).ok()?.parse().ok()
    }

    /// Thousands of worlds; `RINGTAKE_SEEDS` says how many, `RINGTAKE_SEED` plays one.
    #[test]
    fn every_answer_is_right_or_names_its_cause_and_nothing_is_left() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("d");
        client::write(&path);
        let seeds = match number("RINGTAKE_SEED") {
            Some(seed) => seed..seed + 1,
            None => 0..number("RINGTAKE_SEEDS").unwrap_or(2_000),
        };
        let (mut injected, mut tally) = ([0; Kind::COUNT], client::Tally::default());
        let mut odd = Oddities::default();
        let count = seeds.end - seeds.start;
        for seed in seeds {
            // What the seed is comes first where a test says nothing more.
            let lived = catch_unwind(|| live(seed, &path));
            let lived = lived.unwrap_or_else(|panic| {
                eprintln!("this was seed {seed}: RINGTAKE_SEED={seed} plays it again");
                std::panic::resume_unwind(panic)
            });
            for (sum, of_seed) in injected.iter_mut().zip(lived.injected) {
                *sum += of_seed;
            }
            lived.reports.iter().for_each(|report| tally.count(report));
            odd.leaps += lived.odd.leaps;
            odd.stands += lived.odd.stands;
        }
        println!("{count} seeds: {tally}; no answer wrong or missing, nothing left behind");
        let kinds = Kind::ALL.iter().zip(injected);
        let kinds: Vec<String> = kinds.map(|(kind, n)| format!("{kind:?} {n}")).collect();
        let Oddities { leaps, stands } = odd;
        let kinds = kinds.join(", ");
        println!(
            "faults injected: {kinds}; the clock leapt {leaps} times and stood {stands} times"
        );
        if count >= 100 {
            assert!(
                injected.iter().all(|&n| n > 0),
                "a kind of fault is missing"
            );
            assert!(leaps > 0 && stands > 0, "the clock was always right");
            tally.assert_covers_all();
        }
    }

    #[test]
    fn a_seed_plays_the_same_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("d");
        client::write(&path);
        for seed in 0..16 {
            let first = live(seed, &path);
            assert_eq!(first, live(seed, &path), "seed {seed}");
            assert!(!first.reports.is_empty());
        }
    }
}
