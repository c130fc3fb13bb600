//! LATENCY: when commands were slow, and how long each command takes.
//!
//! Moments at which a command took at least `latency-monitor-threshold` milliseconds are kept in the tally of its worker, in two kinds as
//! Redis names them: `fast-command` for commands that should be quick, `command` for the others. Figures are over all workers.

use crate::command::{
    Env, Reply,
    call::Call,
    introspect::help,
    refusal::{Answer, refuse},
    table::{self, ADMIN, Command, PLAIN},
};
use crate::store::tally::{BUCKETS, Calls, SAMPLES, Sample};

pub(crate) const COMMANDS: &[Command] = &[Command::new("latency", -2, latency_help)
    .group("server")
    .docs("2.8.13", "", "Commands about slowness.")
    .subcommands(LATENCY)];

const LATENCY: &[Command] = &[
    sub("latency|doctor", 2, doctor).docs("2.8.13", "", "Says in words what was slow."),
    sub("latency|graph", 3, graph).docs("2.8.13", "event", "Draws the moments of an event."),
    sub("latency|help", 2, latency_help).flags(PLAIN).tips(&[]).docs("2.8.13", "", "Lists the subcommands."),
    sub("latency|histogram", -2, histogram).docs(
        "7.0.0",
        "[command...]",
        "Returns how often commands took up to how many microseconds.",
    ),
    sub("latency|history", 3, history).docs("2.8.13", "event", "Returns the moments of an event."),
    sub("latency|latest", 2, latest).docs("2.8.13", "", "Returns the latest moment of each event."),
    sub("latency|reset", -2, reset).tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]).docs(
        "2.8.13",
        "[event...]",
        "Forgets the moments of events.",
    ),
];

const fn sub(full_name: &'static str, arity: i64, handler: crate::command::table::Handler) -> Command {
    Command::sub(full_name, arity, handler).group("server").flags(ADMIN).tips(&[
        "nondeterministic_output",
        "request_policy:all_nodes",
        "response_policy:special",
    ])
}

/// The kinds of events, by their number in the tally.
const EVENTS: [&str; 2] = ["command", "fast-command"];

/// Keeps the moment if a command was slow.
pub(in crate::command) fn note(env: &Env<'_>, command: &Command, nanos: u64) {
    let threshold_ms = env.state.settings.limits().latency_ms;
    let ms = nanos / 1_000_000;
    if threshold_ms == 0 || ms < threshold_ms {
        return;
    }
    let kind = usize::from(command.flags.contains(&"fast"));
    env.store.statistics().tally(env.worker).note(kind, Sample { at_secs: env.now_ms / 1000, ms });
}

/// What all workers counted of a command; `None`: nobody knows it.
pub(in crate::command) fn calls(env: &Env<'_>, name: &str) -> Option<Calls> {
    let statistics = env.store.statistics();
    let known = (0..statistics.workers()).filter_map(|worker| statistics.tally(worker).calls(name));
    known.reduce(|mut sum, calls| {
        sum.add(&calls);
        sum
    })
}

/// The moments of a kind of event over all workers, in order, and the longest ever.
fn samples(env: &Env<'_>, kind: usize) -> (Vec<Sample>, u64) {
    let statistics = env.store.statistics();
    let (mut samples, mut longest) = (Vec::new(), 0);
    for worker in 0..statistics.workers() {
        let (more, ms) = statistics.tally(worker).samples(kind);
        samples.extend(more);
        longest = longest.max(ms);
    }
    samples.sort_unstable();
    let old = samples.len().saturating_sub(SAMPLES);
    samples.drain(..old);
    (samples, longest)
}

fn kind_of(name: &[u8]) -> Option<usize> {
    EVENTS.iter().position(|event| event.as_bytes() == name)
}

fn latency_help(call: &mut Call<'_, '_>) -> Answer {
    Ok(help(call, "LATENCY", LATENCY))
}

fn doctor(call: &mut Call<'_, '_>) -> Answer {
    let threshold_ms = call.env.state.settings.limits().latency_ms;
    if threshold_ms == 0 {
        return Ok(Reply::Verbatim(
            "Latency monitoring is disabled. \"CONFIG SET latency-monitor-threshold <milliseconds>\" enables it.\n"
                .into(),
        ));
    }
    let mut text = String::new();
    for (kind, name) in EVENTS.iter().enumerate() {
        let (samples, longest) = samples(call.env, kind);
        if let Some(last) = samples.last() {
            let mean = samples.iter().map(|sample| sample.ms).sum::<u64>() / samples.len() as u64;
            text += &format!(
                "{name}: {} moments of {threshold_ms} ms and more, {mean} ms on average, the latest {} s ago ({} ms), the \
                 longest ever {longest} ms.\n",
                samples.len(),
                (call.env.now_ms / 1000).saturating_sub(last.at_secs),
                last.ms,
            );
        }
    }
    if text.is_empty() {
        text = format!("No command has taken {threshold_ms} ms or more.\n");
    } else {
        text += "SLOWLOG GET shows which commands they were.\n";
    }
    Ok(Reply::Verbatim(text))
}

/// A bar for each moment, the longest ever being as wide as the graph.
fn graph(call: &mut Call<'_, '_>) -> Answer {
    const WIDTH: u64 = 60;
    let name = call.text(2);
    let (samples, longest) = kind_of(call.arg(2)).map(|kind| samples(call.env, kind)).unwrap_or_default();
    if samples.is_empty() {
        return refuse(format!("ERR No samples available for event '{name}'"));
    }
    let high = samples.iter().map(|sample| sample.ms).max().unwrap_or_default();
    let low = samples.iter().map(|sample| sample.ms).min().unwrap_or_default();
    let mut text = format!("{name} - high {high} ms, low {low} ms (all time high {longest} ms)\n");
    for sample in &samples {
        let bar = "#".repeat((sample.ms * WIDTH / longest.max(1)).max(1) as usize);
        let ago = (call.env.now_ms / 1000).saturating_sub(sample.at_secs);
        text += &format!("{ago:>8}s ago {bar} {} ms\n", sample.ms);
    }
    Ok(Reply::Verbatim(text))
}

fn history(call: &mut Call<'_, '_>) -> Answer {
    let (samples, _) = kind_of(call.arg(2)).map(|kind| samples(call.env, kind)).unwrap_or_default();
    let moment = |sample: &Sample| Reply::Array(vec![Reply::Int(sample.at_secs as i64), Reply::Int(sample.ms as i64)]);
    Ok(Reply::Array(samples.iter().map(moment).collect()))
}

fn latest(call: &mut Call<'_, '_>) -> Answer {
    let mut latest = Vec::new();
    for (kind, name) in EVENTS.iter().enumerate() {
        let (samples, longest) = samples(call.env, kind);
        if let Some(last) = samples.last() {
            let figures = [last.at_secs, last.ms, longest].map(|figure| Reply::Int(figure as i64));
            latest.push(Reply::Array(std::iter::once(Reply::Text(name)).chain(figures).collect()));
        }
    }
    Ok(Reply::Array(latest))
}

/// Returns how many kinds of events had moments to forget.
fn reset(call: &mut Call<'_, '_>) -> Answer {
    let statistics = call.env.store.statistics();
    let named: Vec<usize> = call.args.from(2).filter_map(kind_of).collect();
    let kinds = if call.args.len() == 2 { (0..EVENTS.len()).collect() } else { named };
    let mut forgotten = 0;
    for kind in kinds {
        forgotten += i64::from(!samples(call.env, kind).0.is_empty());
        (0..statistics.workers()).for_each(|worker| statistics.tally(worker).forget(kind));
    }
    Ok(Reply::Int(forgotten))
}

/// The commands that are named, with their subcommands, or all.
fn histogram(call: &mut Call<'_, '_>) -> Answer {
    call.env.state.meter.flush();
    let is_asked = |command: &Command| {
        call.args.len() == 2
            || call.args.from(2).any(|name| {
                let container = command.full_name.split('|').next().unwrap_or_default();
                [command.full_name, container].iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name))
            })
    };
    let mut shown = Vec::new();
    for command in table::all_with_subcommands().filter(|command| is_asked(command)) {
        if let Some(calls) = calls(call.env, command.full_name)
            && calls.buckets.iter().sum::<u64>() > 0
        {
            shown.push((Reply::Text(command.full_name), buckets(&calls)));
        }
    }
    Ok(Reply::Map(shown))
}

/// How many calls took up to so many microseconds, for every bucket that has some.
fn buckets(calls: &Calls) -> Reply {
    let mut sum = 0;
    let mut pairs = Vec::new();
    for bucket in (0..BUCKETS).filter(|&bucket| calls.buckets[bucket] > 0) {
        sum += calls.buckets[bucket];
        pairs.push((Reply::Int(1 << bucket), Reply::Int(sum as i64)));
    }
    Reply::Map(vec![(Reply::Text("calls"), Reply::Int(sum as i64)), (Reply::Text("histogram_usec"), Reply::Map(pairs))])
}

#[cfg(test)]
mod tests {
    use crate::{
        command::testing::{Server, check},
        store::tally::Sample,
    };

    #[test]
    fn slow_moments_are_shown_and_forgotten() {
        let server = Server::new();
        check(
            &server,
            &[
                ("LATENCY LATEST", "*0"),
                ("LATENCY HISTORY command", "*0"),
                ("LATENCY RESET", ":0"),
                ("LATENCY GRAPH command", "-ERR No samples available for event 'command'"),
            ],
        );
        assert!(server.run("LATENCY DOCTOR").contains("disabled"));
        server.run("CONFIG SET latency-monitor-threshold 5");
        assert!(server.run("LATENCY DOCTOR").contains("No command has taken 5 ms"));
        let tally = server.store.statistics().tally(0);
        tally.note(0, Sample { at_secs: 10, ms: 30 });
        tally.note(0, Sample { at_secs: 11, ms: 20 });
        check(
            &server,
            &[
                ("LATENCY LATEST", "*1 *4 $7 command :11 :20 :30"),
                ("LATENCY HISTORY command", "*2 *2 :10 :30 *2 :11 :20"),
                ("LATENCY HISTORY fork", "*0"),
            ],
        );
        assert!(server.run("LATENCY DOCTOR").contains("command: 2 moments"));
        assert!(server.run("LATENCY GRAPH command").contains("high 30 ms, low 20 ms"));
        check(&server, &[("LATENCY RESET fork", ":0"), ("LATENCY RESET command", ":1"), ("LATENCY LATEST", "*0")]);
    }

    #[test]
    fn the_times_of_commands_are_shown_in_buckets() {
        let server = Server::new();
        server.run("GET a");
        server.run("CLIENT ID");
        let shown = server.run("LATENCY HISTOGRAM GET client none");
        assert!(shown.starts_with("*4 ") && shown.contains("$3 get *4 $5 calls :1 $14 histogram_usec *2 :"), "{shown}");
        assert!(shown.contains("$9 client|id *4 "), "{shown}");
        server.run("CONFIG SET latency-tracking no");
        server.run("CONFIG RESETSTAT");
        assert_eq!(server.run("LATENCY HISTOGRAM"), "*0");
    }
}
