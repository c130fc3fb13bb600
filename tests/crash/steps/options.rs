//! The arguments of `steps`.

use std::thread::available_parallelism;

/// Kill points that a full run must have at least.
const FULL_RUN_POINTS: usize = 30_000;

/// What is to be run.
pub(super) struct Options {
    /// All points; otherwise a choice of them, the same in every run.
    pub(super) full: bool,
    /// Only cases whose name starts with this, and only the point behind `@`.
    pub(super) only: Option<String>,
    pub(super) point: Option<String>,
    pub(super) jobs: usize,
    /// Which share of the cases, from 0 on, of how many.
    pub(super) shard: (usize, usize),
}

impl Options {
    /// The kill points without which the run has failed.
    pub(super) fn least_points(&self) -> usize {
        if self.full && self.only.is_none() && self.shard.1 == 1 { FULL_RUN_POINTS } else { 1 }
    }
}

/// Reads the arguments.
pub(super) fn parse(arguments: &[String]) -> Result<Options, String> {
    let jobs = available_parallelism().map_or(1, usize::from);
    let mut options = Options { full: false, only: None, point: None, jobs, shard: (0, 1) };
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument {
            "--full" => options.full = true,
            "--reduced" => options.full = false,
            "--only" => {
                let value = value()?;
                let (name, point) = value.split_once('@').map_or((value, None), |(name, point)| (name, Some(point)));
                options.only = Some(name.to_owned());
                options.point = point.map(ToOwned::to_owned);
            }
            "--jobs" => options.jobs = number(value()?)?.max(1),
            "--shard" => options.shard = shard(value()?)?,
            other => return Err(format!("what is '{other}'?")),
        }
    }
    Ok(options)
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("'{text}' is not a number"))
}

fn shard(text: &str) -> Result<(usize, usize), String> {
    let (index, count) = text.split_once('/').ok_or_else(|| format!("'{text}' is not I/N"))?;
    match (number(index)?, number(count)?) {
        (index, count) if (1..=count).contains(&index) => Ok((index - 1, count)),
        _ => Err(format!("'{text}' is not a share: the first of two is 1/2")),
    }
}
