//! What was measured: figures in sections, as tables for people and as JSON for programs.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::turns::Pair;

/// One line of a table.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    /// What was done.
    pub(crate) what: String,
    /// With what it is compared.
    pub(crate) rival: String,
    /// What was found.
    pub(crate) pair: Pair,
    /// What the ratio is to be at most, if something was promised.
    pub(crate) target: Option<f64>,
}

/// Figures of one kind.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    /// Its heading.
    pub(crate) title: String,
    /// What is counted, per what.
    pub(crate) unit: &'static str,
    /// What was measured, how, and what a ratio means.
    pub(crate) about: String,
    /// The lines.
    pub(crate) figures: Vec<Figure>,
}

impl Section {
    /// A section without figures.
    pub(crate) fn new(title: impl Into<String>, unit: &'static str, about: impl Into<String>) -> Self {
        Self { title: title.into(), unit, about: about.into(), figures: Vec::new() }
    }

    /// Adds a figure, and says it at once: some take long.
    pub(crate) fn add(&mut self, what: impl Into<String>, rival: impl Into<String>, pair: Pair, target: Option<f64>) {
        let figure = Figure { what: what.into(), rival: rival.into(), pair, target };
        eprintln!(
            "{}: {} / {}: {:.2} against {:.2} {}, ratio {:.3}",
            self.title, figure.what, figure.rival, figure.pair.ours, figure.pair.theirs, self.unit, figure.pair.ratio
        );
        self.figures.push(figure);
    }

    /// The section as a table in Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut out = format!("## {}\n\n{}\n\n", self.title, self.about);
        let _ = writeln!(out, "| | against | ours, {} | theirs | ratio | quartiles | promised |", self.unit);
        out.push_str("|---|---|--:|--:|--:|---|---|\n");
        for Figure { what, rival, pair, target } in &self.figures {
            let promised = target.map_or(String::new(), |target| {
                format!("≤ {target}{}", if pair.ratio <= target { "" } else { " **missed**" })
            });
            let _ = writeln!(
                out,
                "| {what} | {rival} | {} | {} | **{:.2}** | {:.2}–{:.2} | {promised} |",
                number(pair.ours),
                number(pair.theirs),
                pair.ratio,
                pair.spread.0,
                pair.spread.1
            );
        }
        out
    }

    /// The section as JSON.
    pub(crate) fn json(&self) -> Value {
        let figures: Vec<_> = self
            .figures
            .iter()
            .map(|Figure { what, rival, pair, target }| {
                json!({
                    "what": what, "rival": rival, "ours": pair.ours, "theirs": pair.theirs, "ratio": pair.ratio,
                    "quartiles": [pair.spread.0, pair.spread.1], "rounds": pair.rounds, "promised": target,
                })
            })
            .collect();
        json!({ "title": self.title, "unit": self.unit, "about": self.about, "figures": figures })
    }
}

/// Three digits that count.
fn number(x: f64) -> String {
    match x.abs() {
        x if x >= 1000.0 => format!("{x:.0}"),
        x if x >= 100.0 => format!("{x:.0}"),
        x if x >= 10.0 => format!("{x:.1}"),
        _ => format!("{x:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_promise_is_said() {
        let mut section = Section::new("Maps", "ns", "How long.");
        section.add("get", "that one", Pair::of(&[(2.0, 4.0)]), Some(0.4));
        assert!(
            section.markdown().contains("| get | that one | 2.00 | 4.00 | **0.50** | 0.50–0.50 | ≤ 0.4 **missed** |")
        );
        assert_eq!(section.json()["figures"][0]["ratio"], 0.5);
    }
}
