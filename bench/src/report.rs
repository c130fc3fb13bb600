//! What was measured: figures in sections, as tables for people and as JSON for programs.

use std::{fmt::Write, fs, io, path::Path, process::Command};

use serde_json::{Value, json};

use crate::{companion::cores, plot::Plot, turns::Pair};

/// One line of a table.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    /// What was done.
    pub(crate) what: String,
    /// With what it is compared.
    pub(crate) rival: String,
    /// What was found.
    pub(crate) pair: Pair,
    /// What the ratio is to be at most, or at least where more is better, if something was promised.
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
    /// Whether a ratio above 1 is what is wished for.
    more_is_better: bool,
    /// The lines.
    pub(crate) figures: Vec<Figure>,
    /// What shows them.
    pub(crate) plots: Vec<Plot>,
}

impl Section {
    /// A section without figures.
    pub(crate) fn new(title: impl Into<String>, unit: &'static str, about: impl Into<String>) -> Self {
        let (title, about) = (title.into(), about.into());
        Self { title, unit, about, more_is_better: false, figures: Vec::new(), plots: Vec::new() }
    }

    /// The section, as one whose ratios are the better the more they are.
    pub(crate) fn more_is_better(self) -> Self {
        Self { more_is_better: true, ..self }
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
    fn markdown(&self) -> String {
        let mut out = format!("## {}\n\n{}\n", self.title, self.about);
        if self.figures.is_empty() {
            return out;
        }
        out.push('\n');
        let _ = writeln!(out, "| | against | ours, {} | theirs | ratio | quartiles | promised |", self.unit);
        out.push_str("|---|---|--:|--:|--:|---|---|\n");
        for Figure { what, rival, pair, target } in &self.figures {
            let promised = target.map_or(String::new(), |target| self.promised(pair.ratio, target));
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
        for plot in &self.plots {
            let _ = write!(out, "\n![{}]({})\n", plot.title, plot.file);
        }
        out
    }

    /// What was promised, and whether it was missed.
    fn promised(&self, ratio: f64, target: f64) -> String {
        let (sign, kept) = if self.more_is_better { ("≥", ratio >= target) } else { ("≤", ratio <= target) };
        format!("{sign} {target}{}", if kept { "" } else { " **missed**" })
    }

    /// The section as JSON.
    fn json(&self) -> Value {
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
        json!({ "title": self.title, "unit": self.unit, "about": self.about, "more_is_better": self.more_is_better, "figures": figures })
    }
}

/// Where and of what the figures are: machine, kernel, versions, commit, day.
fn circumstances() -> Vec<(&'static str, String)> {
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or("").to_owned());
        text.unwrap_or_default()
    };
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    vec![
        ("machine", format!("{} × {}", cores(), model.trim_start_matches([' ', '\t', ':']))),
        ("kernel", run("uname", &["-r"])),
        ("redis-server", run("redis-server", &["--version"])),
        ("memcached", run("memcached", &["--version"])),
        ("commit", run("git", &["describe", "--always", "--dirty"])),
        ("day", run("date", &["-u", "+%F"])),
        ("command", std::env::args().skip(1).fold("store-master-bench".to_owned(), |line, word| line + " " + &word)),
    ]
}

/// All sections as one page.
pub(crate) fn markdown(sections: &[Section]) -> String {
    let mut out = "# What was measured\n\nEach figure is of two things measured in turns: the ratio is the median of the rounds' ratios, ours to theirs, so less than 1 is better, but where the section says otherwise. The absolute figures are medians, of this machine on this day.\n\n".to_owned();
    for (what, value) in circumstances() {
        let _ = writeln!(out, "* {what}: {value}");
    }
    for section in sections {
        out += "\n";
        out += &section.markdown();
    }
    out
}

/// The same for programs.
fn json(sections: &[Section]) -> String {
    let circumstances: serde_json::Map<_, _> =
        circumstances().into_iter().map(|(what, value)| (what.to_owned(), Value::String(value))).collect();
    let sections: Vec<_> = sections.iter().map(Section::json).collect();
    format!("{:#}\n", json!({ "circumstances": circumstances, "sections": sections }))
}

/// Writes everything into a folder: the page, the same for programs, and the plots.
///
/// # Errors
///
/// Something cannot be written.
pub(crate) fn record(folder: &Path, sections: &[Section]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("LATEST.md"), markdown(sections))?;
    fs::write(folder.join("LATEST.json"), json(sections))?;
    let mut plots = sections.iter().flat_map(|section| &section.plots);
    plots.try_for_each(|plot| fs::write(folder.join(plot.file), plot.svg()))
}

/// Three digits that count.
fn number(x: f64) -> String {
    match x.abs() {
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
        let section = section.more_is_better();
        assert!(section.markdown().contains("| ≥ 0.4 |"));
    }

    #[test]
    fn what_was_left_out_has_no_table() {
        assert_eq!(Section::new("Keys", "B", "Left out.").markdown(), "## Keys\n\nLeft out.\n");
    }

    #[test]
    fn plots_are_written_beside_the_page() {
        let mut section = Section::new("Maps", "ns", "How long.");
        section.add("get", "that one", Pair::of(&[(2.0, 4.0)]), None);
        section.plots.push(crate::scaling::plot("get.svg", "Gets", "processes", Vec::new()));
        let folder = tempfile::TempDir::new().unwrap();
        record(folder.path(), &[section]).unwrap();
        let text = |name| fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(text("LATEST.md").ends_with("\n![Gets](get.svg)\n"));
        assert!(text("get.svg").starts_with("<svg ") && text("LATEST.json").contains("Maps"));
    }
}
