//! Names of commands as clients wrote them of late: what is written next is one of them as a rule, to the letter.

use std::cell::Cell;

use super::table::{self, Command};

/// Names that are kept: a power of two.
const PLACES: usize = 16;
/// Bytes of the longest.
const LONGEST: usize = 16;

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    name: [u8; LONGEST],
    command: Option<&'static Command>,
}

/// The names that a worker has read of late.
#[derive(Debug, Default)]
pub struct Recent([Cell<Known>; PLACES]);

impl Recent {
    /// The command of this name, in any case.
    #[inline]
    pub(super) fn lookup(&self, name: &[u8]) -> Option<&'static Command> {
        let (&first, &last) = name.first().zip(name.last())?;
        // Case does not show in the low bits.
        let place = &self.0[usize::from(first ^ last.rotate_left(2)) % PLACES];
        let known = place.get();
        if let Some(command) = known.command
            && command.name.len() == name.len()
            && known.name.starts_with(name)
        {
            return Some(command);
        }
        let command = table::lookup(name);
        if let Some(command) = command.filter(|_| name.len() <= LONGEST) {
            let mut known = Known { name: [0; LONGEST], command: Some(command) };
            known.name[..name.len()].copy_from_slice(name);
            place.set(known);
        }
        command
    }

    /// Which argument of a request with this name is its first key, as far as that is known without the others; 0: none.
    #[inline]
    pub fn key_place(&self, name: &[u8]) -> usize {
        match self.lookup(name) {
            Some(command) if command.keys.0 > 0 => command.keys.0 as usize,
            Some(command) if !command.subcommands.is_empty() => 2,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case_and_in_any_order() {
        let recent = Recent::default();
        for command in table::all().chain(table::all()) {
            let upper = command.name.to_ascii_uppercase();
            for name in [command.name, &upper, command.name] {
                assert!(recent.lookup(name.as_bytes()).is_some_and(|found| std::ptr::eq(found, command)), "{name}");
            }
        }
        for nonsense in [&b""[..], b"g", b"ge", b"gett", b"ge\0", b"client|setname", &[0xff; 40]] {
            assert!(recent.lookup(nonsense).is_none(), "{nonsense:?}");
        }
    }

    #[test]
    fn it_knows_where_the_first_key_is() {
        let places =
            ["get", "OBJECT", "bitop", "PING", "nonsense"].map(|name| Recent::default().key_place(name.as_bytes()));
        assert_eq!(places, [1, 2, 2, 0, 0]);
    }
}
