//! Patterns of KEYS, SCAN and CONFIG GET: `*`, `?`, `[a-c]`, `[^a]`, and `\` before a character that means itself.
//!
//! Only the last `*` seen is ever gone back to, so the cost is at most pattern times text, whatever the pattern. As both come from
//! clients and may be long, it is bounded besides: what would take too long to find out does not match.

/// Stars, each behind something else, that a pattern which matches may have.
const MAX_STARS: usize = 1000;
/// Comparisons of bytes that one text is worth: so many for each of its bytes, but not more than so many, which take some 10 ms.
const STEPS_PER_BYTE: usize = 1 << 10;
const MAX_STEPS: usize = 1 << 23;

/// Whether the whole of `text` matches `pattern`.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    search(pattern, text, false)
}

/// As [`matches`], upper and lower case being the same.
pub(crate) fn matches_any_case(pattern: &[u8], text: &[u8]) -> bool {
    search(pattern, text, true)
}

fn search(pattern: &[u8], text: &[u8], any_case: bool) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut stars = 0;
    let mut steps_left = MAX_STEPS.min(STEPS_PER_BYTE * (text.len() + 1));
    // Behind the last star, and the text that the star has not swallowed yet.
    let mut retry: Option<(usize, usize)> = None;
    while stars <= MAX_STARS && steps_left > 0 {
        if pattern.get(p) == Some(&b'*') {
            // Nothing goes back behind a star, so each is met once.
            stars += usize::from(p == 0 || pattern[p - 1] != b'*');
            p += 1;
            steps_left -= 1;
            retry = Some((p, t));
            continue;
        }
        let step = match (p < pattern.len(), text.get(t)) {
            (false, None) => return true,
            (true, Some(&byte)) => one(&pattern[p..], byte, any_case, &mut steps_left),
            _ => None,
        };
        if let Some(taken) = step {
            p += taken;
            t += 1;
            continue;
        }
        match retry {
            Some((behind, from)) if from < text.len() => {
                retry = Some((behind, from + 1));
                (p, t) = (behind, from + 1);
            }
            _ => return false,
        }
    }
    false
}

/// How much of the pattern's front matches `byte`; `None` if it does not match. What it takes is subtracted from the steps
/// that are left; if none are then, the answer means nothing.
fn one(pattern: &[u8], byte: u8, any_case: bool, steps_left: &mut usize) -> Option<usize> {
    *steps_left -= 1;
    let same = |a: u8, b: u8| if any_case { a.eq_ignore_ascii_case(&b) } else { a == b };
    match pattern {
        [b'?', ..] => Some(1),
        [b'[', class @ ..] => {
            let class = &class[..class.len().min(*steps_left)];
            let (inside, len) = in_class(class, byte, any_case);
            *steps_left -= len;
            inside.then_some(1 + len)
        }
        [b'\\', literal, ..] => same(*literal, byte).then_some(2),
        [literal, ..] => same(*literal, byte).then_some(1),
        [] => None,
    }
}

/// Whether `byte` is in the class, and the length of the class up to its closing bracket; one that is not closed goes to the end.
fn in_class(class: &[u8], byte: u8, any_case: bool) -> (bool, usize) {
    let fold = |b: u8| if any_case { b.to_ascii_lowercase() } else { b };
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        match &class[at.min(class.len())..] {
            [] => return (found != negated, class.len()),
            [b']', ..] => return (found != negated, at + 1),
            [b'\\', literal, ..] => {
                found |= fold(*literal) == fold(byte);
                at += 2;
            }
            [from, b'-', to, ..] => {
                let (low, high) = (fold(*from).min(fold(*to)), fold(*from).max(fold(*to)));
                found |= (low..=high).contains(&fold(byte));
                at += 3;
            }
            [literal, ..] => {
                found |= fold(*literal) == fold(byte);
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_the_field() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h*llo", "heeeello", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("h\\*llo", "h*llo", true),
            ("h\\*llo", "hxllo", false),
            ("[\\]]", "]", true),
            ("a[", "a", false),
            ("a*b*c", "axxbxxbc", true),
            ("a*b*c", "axxbxxb", false),
            ("foo*", "foobar", true),
            ("*bar", "foobar", true),
            ("f**r", "foobar", true),
            ("\\", "\\", true),
            ("[abc", "b", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
        assert!(matches_any_case(b"MAX*", b"maxclients"));
        assert!(!matches(b"MAX*", b"maxclients"));
    }

    #[test]
    fn many_stars_take_no_longer() {
        assert!(!matches("a*".repeat(200).as_bytes(), "a".repeat(199).as_bytes()));
        assert!(!matches(format!("{}b", "a*".repeat(1000)).as_bytes(), "a".repeat(50_000).as_bytes()));
        assert!(matches("a*".repeat(1000).as_bytes(), "a".repeat(1000).as_bytes()));
        assert!(!matches("a*".repeat(1001).as_bytes(), "a".repeat(1001).as_bytes()));
    }

    // One such pattern held a worker up for ten seconds at each key.
    #[test]
    fn a_long_pattern_is_given_up() {
        let text = "a".repeat(60_000);
        let (text, steps_left) = (text.as_bytes(), &mut 1000);
        let class = format!("*[b{}]", "b".repeat(200_000));
        one(&class.as_bytes()[1..], b'a', false, steps_left);
        assert_eq!(*steps_left, 0, "a class costs its length");
        assert!(!matches(class.as_bytes(), text));
        // It matches, but that takes a billion steps.
        assert!(!matches(
            format!("*{}b", "a".repeat(30_000)).as_bytes(),
            format!("{}b", "a".repeat(60_000)).as_bytes()
        ));
        assert!(!matches("*".repeat(10_000_000).as_bytes(), b"any"));
        assert!(!matches(class.as_bytes(), b"a short one"));
        let ordinary = format!("{}needle{}", "nee".repeat(10_000), "x".repeat(30_000));
        assert!(matches(b"*[m-o]eedle*x", ordinary.as_bytes()));
    }
}
