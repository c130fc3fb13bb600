//! How long others wait for the holder of the very row that they want.
//!
//! Every line says what became of the holder and at which point of its write, who waited, and the distribution over all rounds; and beside it
//! when a poll on the holder's pidfd told of the same death.
//!
//! "Idle" means that no more tasks can run than there are processors. Where this process may, it makes its children go before
//! all others for that (SCHED_FIFO), so that the rest of the machine does not count; where it may not, rounds in which more
//! tasks could run are left out, and counted as crowded. "Oversubscribed" is two burning processes for each processor, all alike.
//!
//! With `--bounds` the figures must keep to what is promised. A shared machine may be noisy: a line that does not is measured
//! again, three times in all. Without, only hangs are failures.

mod scene;

use std::thread::available_parallelism;

use scene::{Burners, Fate, Kind, Round, Scene, Waiter, go_first};

const MS: u64 = 1_000_000;
/// A waiter gets on after so much, at the 99th percentile, when nobody has to wait for a processor.
const BOUND: u64 = MS;
const TRIES: usize = 3;
const SMALL: u64 = 64 << 20;
const LARGE: u64 = 1 << 30;

/// A line of the report.
struct Line {
    kind: Kind,
    large: bool,
    oversubscribed: bool,
    /// One in so many of the rounds is enough.
    share: u64,
}

/// Sorted samples.
struct Samples(Vec<u64>);

impl Samples {
    fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        Self(values)
    }

    fn percentile(&self, percent: usize) -> u64 {
        self.0.get((self.0.len() * percent).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default()
    }
}

/// What a line came to.
struct Figures {
    waited: Samples,
    exit_event: Samples,
    by_timer: usize,
    crowded: usize,
}

/// Measures every line with so many rounds; whether all is well.
pub(crate) fn run(rounds: u64, bounds: bool) -> bool {
    let (small, large) = (Scene::new(SMALL, false), Scene::new(LARGE, true));
    let cores = available_parallelism().map_or(1, usize::from);
    println!("stalls: {cores} processors; microseconds since the holder's end (SIGCONT for a stopped one)");
    let outcome = lines().iter().try_for_each(|line| {
        let scene = if line.large { &large } else { &small };
        measure(scene, line, rounds, cores, bounds)
    });
    let folder = std::env::temp_dir().join(format!("crash-{}", std::process::id()));
    // Only lines with core files make it.
    let _ = std::fs::remove_dir_all(folder);
    if let Err(why) = &outcome {
        eprintln!("stalls: FAILED: {why}");
    }
    outcome.is_ok()
}

fn lines() -> Vec<Line> {
    let line = |fate, point, waiter| Line {
        kind: Kind { fate, point, waiter },
        large: false,
        oversubscribed: false,
        share: 1,
    };
    let large = |line| Line { large: true, ..line };
    let slow = |share, line| Line { share, ..line };
    let oversubscribed = |share, line| Line { oversubscribed: true, share, ..line };
    let fault = Fate::Segfault { core_files: false };
    let core = Fate::Segfault { core_files: true };
    let (writer, reader) = (Waiter::Writer, Waiter::Reader);
    vec![
        line(Fate::Killed, "row-locked", writer),
        line(Fate::Killed, "row-odd", writer),
        line(Fate::Killed, "row-odd", reader),
        line(Fate::KilledStopped, "row-odd", writer),
        line(fault, "row-odd", writer),
        slow(3, large(line(fault, "row-odd", writer))),
        slow(3, large(line(fault, "row-odd", reader))),
        slow(3, large(line(Fate::Killed, "row-odd", writer))),
        slow(10, line(core, "row-odd", writer)),
        slow(10, large(line(core, "row-odd", writer))),
        slow(3, line(Fate::Stopped(20), "row-locked", writer)),
        slow(3, line(Fate::Stopped(20), "row-odd", writer)),
        slow(3, line(Fate::Stopped(20), "row-odd", reader)),
        slow(50, line(Fate::Stopped(1500), "row-odd", writer)),
        oversubscribed(2, line(Fate::Killed, "row-odd", writer)),
        oversubscribed(2, line(Fate::Killed, "row-odd", reader)),
        oversubscribed(20, large(line(fault, "row-odd", writer))),
        oversubscribed(2, line(Fate::Descheduled, "row-odd", writer)),
        oversubscribed(2, line(Fate::Descheduled, "row-odd", reader)),
    ]
}

fn measure(scene: &Scene, line: &Line, rounds: u64, cores: usize, bounds: bool) -> Result<(), String> {
    let alone = go_first(!line.oversubscribed) && !line.oversubscribed;
    let burners = line.oversubscribed.then(|| Burners::start(2 * cores));
    let mut complaint = Ok(());
    for _ in 0..TRIES {
        let figures = collect(scene, line, (rounds / line.share).max(2), if alone { u64::MAX } else { cores as u64 })?;
        line.print(&figures);
        complaint = line.check(&figures);
        if complaint.is_ok() || !bounds {
            break;
        }
        println!("stalls: that was beyond the bound; once more");
    }
    drop(burners);
    if bounds { complaint } else { Ok(()) }
}

fn collect(scene: &Scene, line: &Line, rounds: u64, most: u64) -> Result<Figures, String> {
    let played: Vec<Round> = (0..rounds).map(|_| scene.play(line.kind)).collect::<Result<_, _>>()?;
    let crowded = |round: &&Round| !line.oversubscribed && round.running > most;
    let counted: Vec<&Round> = played.iter().filter(|round| !crowded(round)).collect();
    Ok(Figures {
        waited: Samples::of(counted.iter().map(|round| round.waited).collect()),
        exit_event: Samples::of(counted.iter().map(|round| round.exit_event).collect()),
        by_timer: counted.iter().filter(|round| round.by_timer).count(),
        crowded: played.len() - counted.len(),
    })
}

impl Line {
    fn print(&self, figures: &Figures) {
        let holder = match self.kind.fate {
            Fate::Killed => "killed".to_owned(),
            Fate::KilledStopped => "stopped-and-killed".to_owned(),
            Fate::Segfault { core_files } => format!("segfault{}", if core_files { "-with-core-file" } else { "" }),
            Fate::Stopped(ms) => format!("stopped-{ms}ms"),
            Fate::Descheduled => "descheduled".to_owned(),
        };
        let micros = |samples: &Samples, percent| samples.percentile(percent) as f64 / 1e3;
        let (waited, event) = (&figures.waited, &figures.exit_event);
        println!(
            "stall holder={holder} at={} segment={} waiter={} load={} rounds={} p50={:.0} p99={:.0} max={:.0} pidfd_p50={:.0} \
             pidfd_p99={:.0} by_timer={} crowded={}",
            self.kind.point,
            if self.large { "1g" } else { "64m" },
            if self.kind.waiter == Waiter::Writer { "writer" } else { "reader" },
            if self.oversubscribed { "oversubscribed" } else { "idle" },
            waited.0.len(),
            micros(waited, 50),
            micros(waited, 99),
            micros(waited, 100),
            micros(event, 50),
            micros(event, 99),
            figures.by_timer,
            figures.crowded,
        );
    }

    /// Whether the figures keep to what is promised.
    fn check(&self, figures: &Figures) -> Result<(), String> {
        let p99 = figures.waited.percentile(99);
        let bound = match (self.kind.fate, self.oversubscribed) {
            // Nobody died; or the kernel wrote a core file first, which the server forbids.
            (Fate::Descheduled | Fate::Segfault { core_files: true }, _) => return Ok(()),
            (_, true) => figures.exit_event.percentile(99) * 3 / 2,
            (_, false) => BOUND,
        };
        if figures.waited.0.is_empty() {
            return Err("the machine is too busy to measure on".to_owned());
        }
        // A timer may end just while the kernel is at the holder's end. Where the holder has to wait for a processor to die on,
        // many do.
        if !self.oversubscribed && figures.by_timer > figures.waited.0.len() / 20 + 1 {
            return Err(format!("{} waits were ended by a timer", figures.by_timer));
        }
        if p99 > bound {
            return Err(format!("{} us at the 99th percentile, {} are allowed", p99 / 1000, bound / 1000));
        }
        Ok(())
    }
}
