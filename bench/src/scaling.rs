//! The same work by more and more workers: all numbers of them measured in turns, each against the first.

use crate::{
    plot::{Axis, Line, Plot, Scale},
    report::Section,
    turns::Pair,
};

/// Measures `sides` sides, each once a round; the order is the other way round in every second round.
pub(crate) fn in_turns(rounds: usize, sides: usize, mut measure: impl FnMut(usize) -> f64) -> Vec<Vec<f64>> {
    let mut round = |number: usize| {
        let mut found = vec![0.0; sides];
        for at in 0..sides {
            let side = if number.is_multiple_of(2) { at } else { sides - 1 - at };
            found[side] = measure(side);
        }
        found
    };
    (0..rounds).map(&mut round).collect()
}

/// Adds a figure for each number but the first, and returns the line of all for a plot.
pub(crate) fn add(section: &mut Section, what: &str, who: &str, counts: &[usize], found: &[Vec<f64>]) -> Line {
    let against_first = |at: usize| Pair::of(&found.iter().map(|round| (round[at], round[0])).collect::<Vec<_>>());
    let mut points = Vec::new();
    for (at, count) in counts.iter().enumerate() {
        let pair = against_first(at);
        points.push((*count as f64, pair.ratio));
        if at > 0 {
            section.add(format!("{what}, {count} {who}"), format!("{} of them", counts[0]), pair, None);
        }
    }
    Line { name: what.to_owned(), hue: 0, stroke: 0, points }
}

/// A plot of such lines, each in a colour of its own.
pub(crate) fn plot(file: &'static str, title: &str, who: &str, lines: Vec<Line>) -> Plot {
    let lines = lines.into_iter().enumerate().map(|(hue, line)| Line { hue, ..line }).collect();
    Plot {
        file,
        title: title.to_owned(),
        x: Axis { label: who.to_owned(), scale: Scale::Doubling },
        y: Axis { label: "all together, in times what one does".to_owned(), scale: Scale::Linear },
        lines,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_side_has_its_turn_in_every_round() {
        let mut order = Vec::new();
        let found = in_turns(2, 3, |side| {
            order.push(side);
            side as f64
        });
        assert_eq!(order, [0, 1, 2, 2, 1, 0]);
        assert_eq!(found, [[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]);
    }

    #[test]
    fn the_first_is_what_the_others_stand_against() {
        let mut section = Section::new("S", "1000/s", "");
        let line = add(&mut section, "get", "processes", &[1, 2], &[vec![10.0, 15.0], vec![20.0, 30.0]]);
        assert_eq!(line.points, [(1.0, 1.0), (2.0, 1.5)]);
        assert_eq!(section.figures.len(), 1);
        assert_eq!(section.figures[0].what, "get, 2 processes");
    }
}
