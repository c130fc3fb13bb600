//! How one client wants to be told of changed keys: what CLIENT TRACKING was given, and the rules for that.

use std::collections::BTreeSet;

/// What a client wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Mode {
    /// The client that is told in its place; 0: none.
    pub(crate) redirect: u64,
    /// It is told of every key with one of `prefixes`, and not of those that it has read.
    pub(crate) broadcast: bool,
    pub(crate) prefixes: BTreeSet<Vec<u8>>,
    /// Only reads behind CLIENT CACHING YES count.
    pub(crate) opt_in: bool,
    /// Reads behind CLIENT CACHING NO do not count.
    pub(crate) opt_out: bool,
    /// It is not told of its own changes.
    pub(crate) no_loop: bool,
    /// CLIENT CACHING was given for the next command.
    pub(crate) caching: bool,
    /// The client that was to be told in its place is gone.
    pub(crate) redirect_broken: bool,
}

/// Prefixes beside which a client may have no more.
const MAX_PREFIXES: usize = 1024;

impl Mode {
    /// Whether keys that are read now count.
    pub(crate) fn counts_reads(&self) -> bool {
        !self.broadcast && (!self.opt_in || self.caching) && (!self.opt_out || !self.caching)
    }

    /// The mode after CLIENT TRACKING ON with this one, for a client that had `before`.
    ///
    /// # Errors
    ///
    /// Why the two do not go together, or this one not with itself; `listed` are the prefixes as they were given.
    pub(crate) fn after(mut self, before: Option<&Self>, listed: &[&[u8]]) -> Result<Self, String> {
        if !self.broadcast && !listed.is_empty() {
            return Err("ERR PREFIX option requires BCAST mode to be enabled".to_owned());
        }
        if before.is_some_and(|before| before.broadcast != self.broadcast) {
            return Err("ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then \
                        re-enabling it with a different mode."
                .to_owned());
        }
        if self.broadcast && (self.opt_in || self.opt_out) {
            return Err("ERR OPTIN and OPTOUT are not compatible with BCAST".to_owned());
        }
        if self.opt_in && self.opt_out {
            return Err("ERR You can't specify both OPTIN mode and OPTOUT mode".to_owned());
        }
        if before.is_some_and(|before| self.opt_in && before.opt_out || self.opt_out && before.opt_in) {
            return Err("ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then \
                        re-enabling it with a different mode."
                .to_owned());
        }
        // Before each of them is compared with each other.
        if listed.len() > MAX_PREFIXES {
            return Err(too_many());
        }
        if self.broadcast {
            self.prefixes = before.map(|before| before.prefixes.clone()).unwrap_or_default();
            check_overlaps(&self.prefixes, listed)?;
            self.prefixes.extend(listed.iter().map(|prefix| prefix.to_vec()));
            if listed.is_empty() {
                self.prefixes.insert(Vec::new());
            }
            if self.prefixes.len() > MAX_PREFIXES {
                return Err(too_many());
            }
        }
        Ok(self)
    }
}

fn too_many() -> String {
    format!("ERR a client can have {MAX_PREFIXES} prefixes at most")
}

/// Prefixes of one client must not overlap, so that it is told of a key once.
fn check_overlaps(existing: &BTreeSet<Vec<u8>>, listed: &[&[u8]]) -> Result<(), String> {
    let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
    let refusal = |prefix: &[u8], whose: &str, other: &[u8]| {
        let (prefix, other) = (String::from_utf8_lossy(prefix), String::from_utf8_lossy(other));
        Err(format!(
            "ERR Prefix '{prefix}' overlaps with {whose} prefix '{other}'. Prefixes for a single client must not \
             overlap."
        ))
    };
    for (at, prefix) in listed.iter().enumerate() {
        if let Some(other) = existing.iter().find(|other| other.as_slice() != *prefix && overlap(prefix, other)) {
            return refusal(prefix, "an existing", other);
        }
        if let Some(other) = listed[at + 1..].iter().find(|other| overlap(prefix, other)) {
            return refusal(prefix, "another provided", other);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broadcast() -> Mode {
        Mode { broadcast: true, ..Mode::default() }
    }

    #[test]
    fn prefixes_of_a_client_do_not_overlap() {
        let refused = |before: Option<&Mode>, listed: &[&[u8]]| broadcast().after(before, listed).unwrap_err();
        assert!(refused(None, &[b"foobar", b"foo"]).contains("'foobar' overlaps with another provided prefix 'foo'"));
        assert!(refused(None, &[b"x", b"foo", b"foobar"]).contains("'foo' overlaps"));
        assert!(refused(None, &[b"x", b"x"]).contains("'x' overlaps"));
        assert!(refused(None, &[b"", b"x"]).contains("'' overlaps"));
        let before = broadcast().after(None, &[b"foo", b"bar"]).unwrap();
        assert!(refused(Some(&before), &[b"fo"]).contains("'fo' overlaps with an existing prefix 'foo'"));
        assert!(refused(Some(&before), &[b"barb"]).contains("an existing prefix 'bar'"));
        let after = broadcast().after(Some(&before), &[b"c"]).unwrap();
        assert_eq!(after.prefixes.into_iter().collect::<Vec<_>>(), [&b"bar"[..], b"c", b"foo"]);
        assert!(broadcast().after(None, &[]).unwrap().prefixes.contains(&b""[..]));
    }

    /// Half a million of them were compared with each other, for minutes, before they were found too many.
    #[test]
    fn prefixes_are_counted_before_they_are_compared() {
        let names: Vec<Vec<u8>> = (0..500_000).map(|i| format!("{i:06}").into_bytes()).collect();
        let listed: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        assert_eq!(broadcast().after(None, &listed), Err(too_many()));
        let half = broadcast().after(None, &listed[..MAX_PREFIXES / 2 + 1]).unwrap();
        assert_eq!(
            broadcast().after(Some(&half), &listed[MAX_PREFIXES / 2 + 1..][..MAX_PREFIXES / 2]),
            Err(too_many())
        );
    }

    #[test]
    fn what_counts_depends_on_the_mode_and_on_caching() {
        let mode = |opt_in, opt_out, caching| Mode { opt_in, opt_out, caching, ..Mode::default() }.counts_reads();
        assert!(mode(false, false, false) && mode(true, false, true) && mode(false, true, false));
        assert!(!mode(true, false, false) && !mode(false, true, true) && !broadcast().counts_reads());
    }
}
