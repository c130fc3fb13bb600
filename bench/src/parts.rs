//! Parts of what is measured, each with a name by which it is run alone.

use std::time::Instant;

use crate::report::Section;

/// A part, for measurements of the extent `E`.
pub(crate) struct Part<E> {
    /// The word that asks for it.
    pub(crate) name: &'static str,
    /// What measures it.
    pub(crate) run: fn(E) -> Vec<Section>,
}

/// The names of some parts.
pub(crate) fn names<E>(parts: &[Part<E>]) -> Vec<&'static str> {
    parts.iter().map(|part| part.name).collect()
}

/// Runs all parts, or the one that is named, and says how long each took.
pub(crate) fn run<E: Copy>(parts: &[Part<E>], extent: E, only: Option<&str>) -> Vec<Section> {
    let chosen = parts.iter().filter(|part| only.is_none_or(|only| part.name == only));
    let timed = |part: &Part<E>| {
        let start = Instant::now();
        let sections = (part.run)(extent);
        eprintln!("-- {}: {:.1} s", part.name, start.elapsed().as_secs_f64());
        sections
    };
    chosen.flat_map(timed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_can_be_run_alone() {
        let parts: [Part<()>; 2] = [
            Part { name: "a", run: |()| vec![Section::new("A", "ns", "")] },
            Part { name: "b", run: |()| vec![Section::new("B", "ns", "")] },
        ];
        assert_eq!(names(&parts), ["a", "b"]);
        assert_eq!(run(&parts, (), None).len(), 2);
        assert_eq!(run(&parts, (), Some("b"))[0].title, "B");
    }
}
