//! One case: an operation on a state, killed at its points, and recovery of what each kill left, killed at its own.

use std::collections::BTreeMap;

use super::{
    cases::{Case, Effort},
    ground::{Context, Ground, Image},
    report::{Kind, Report},
    rivals,
    survivor::{Legal, Meets, legal_states, survive},
    trace::Trace,
    tracer::Traced,
};

/// A segment that was left by a kill, and the place of the kill.
struct Left {
    number: usize,
    point: usize,
    image: Image,
}

/// Kills the operation, and recovery after it, at all points that `effort` allows.
pub(super) fn run(case: &Case, effort: &Effort, report: &mut Report) {
    let mut ground = Ground::new(case.state);
    let context = ground.context(None);
    let legal = legal_states(&mut ground, &context, case.operation, &Image::default());
    if effort.wants_alone() {
        let left = kill_operation(case, effort, &mut ground, &context, &legal, report);
        for left in left {
            kill_recovery(case, effort, &mut ground, &context, &legal, &left, report);
        }
    }
    rivals::run(case, effort, &mut ground, report);
}

fn kill_operation(
    case: &Case,
    effort: &Effort,
    ground: &mut Ground,
    context: &Context,
    legal: &[Legal],
    report: &mut Report,
) -> Vec<Left> {
    let operation = case.operation;
    let mut begin = |ground: &mut Ground| {
        ground.restore(&Image::default());
        ((), Traced::start(|| operation.get_ready(context), || drop(operation.carry_out(context))))
    };
    let trace = Trace::record(ground, &mut begin);
    report.recorded(case, Kind::Operation, trace.len());
    let mut expected = trace.expected();
    let mut left = BTreeMap::new();
    for (number, point) in effort.choose(trace.points()).into_iter().enumerate() {
        let ((), mut child, exact) = expected.reach(ground, point, &mut begin);
        child.kill();
        let image = ground.image();
        let verdicts = survivors(ground, context, case, legal, &image, &effort.meets(number));
        report.killed(case, Kind::Operation, &point.to_string(), trace.rip(point), exact, verdicts);
        left.entry(image.hash).or_insert(Left { number, point, image });
        // Those of the least hashes are a choice of all. More would be copied, page by page, by every fork.
        if left.len() > effort.images() {
            left.pop_last();
        }
    }
    left.into_values().collect()
}

/// Lets survivors of all kinds that are asked for meet the same segment.
fn survivors(
    ground: &mut Ground,
    context: &Context,
    case: &Case,
    legal: &[Legal],
    image: &Image,
    meets: &[Meets],
) -> Result<usize, String> {
    let mut state = None;
    for &meets in meets {
        ground.restore(image);
        let found = survive(context, case.operation, legal, meets).map_err(|error| format!("{meets:?}: {error}"))?;
        if meets != Meets::Repeating || state.is_none() {
            state = Some(found);
        }
    }
    state.ok_or_else(|| "nobody looked".to_owned())
}

fn kill_recovery(
    case: &Case,
    effort: &Effort,
    ground: &mut Ground,
    context: &Context,
    legal: &[Legal],
    left: &Left,
    report: &mut Report,
) {
    let mut begin = |ground: &mut Ground| {
        ground.restore(&left.image);
        (
            (),
            Traced::start(
                || {},
                || {
                    context.segment.recover();
                },
            ),
        )
    };
    let trace = Trace::record(ground, &mut begin);
    report.recorded(case, Kind::Recovery, trace.len());
    let mut expected = trace.expected();
    for (number, point) in effort.choose_in_recovery(left.number, trace.points()).into_iter().enumerate() {
        let ((), mut child, exact) = expected.reach(ground, point, &mut begin);
        child.kill();
        let image = ground.image();
        let verdicts = survivors(ground, context, case, legal, &image, &effort.meets(number));
        report.killed(case, Kind::Recovery, &format!("{}/{point}", left.point), trace.rip(point), exact, verdicts);
    }
}
