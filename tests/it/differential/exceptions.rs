//! Where we answer otherwise than Redis 7.0 on purpose. docs/redis-compatibility.md tells users the same.

/// A command with the replies that differ.
pub(super) struct Case<'a> {
    pub(super) words: &'a [Vec<u8>],
    pub(super) ours: &'a [u8],
    pub(super) theirs: &'a [u8],
}

impl Case<'_> {
    fn is(&self, name: &str) -> bool {
        self.words[0].eq_ignore_ascii_case(name.as_bytes())
    }

    fn word(&self, index: usize) -> &[u8] {
        self.words.get(index).map_or(b"", Vec::as_slice)
    }
}

/// A reason, and the differences that it explains.
struct Exception {
    why: &'static str,
    explains: fn(&Case<'_>) -> bool,
}

const EXCEPTIONS: &[Exception] = &[
    Exception {
        why: "encodings are those of a value that was just set; appended-to and computed ones are `raw` in Redis",
        explains: |case| {
            let text = |reply: &[u8]| {
                [&b"embstr"[..], b"raw", b"int"].iter().any(|name| reply.ends_with(&[name, &b"\r\n"[..]].concat()))
            };
            case.is("OBJECT") && case.word(1).eq_ignore_ascii_case(b"ENCODING") && text(case.ours) && text(case.theirs)
        },
    },
    Exception {
        why: "a hash whose long field is gone again is a listpack again; in Redis it stays a hashtable",
        explains: |case| {
            let answers = case.ours.ends_with(b"listpack\r\n") && case.theirs.ends_with(b"hashtable\r\n");
            case.is("OBJECT") && case.word(1).eq_ignore_ascii_case(b"ENCODING") && answers
        },
    },
    Exception {
        why: "values are not shared: a reference count is 1",
        explains: |case| case.is("OBJECT") && case.ours == b":1\r\n" && case.theirs.starts_with(b":"),
    },
    Exception {
        why: "hashes are dumped field by field",
        explains: |case| {
            let of_hash = |reply: &[u8]| {
                reply
                    .windows(3)
                    .find(|bytes| bytes.starts_with(b"\r\n"))
                    .is_some_and(|bytes| matches!(bytes[2], 4 | 16))
            };
            case.is("DUMP") && of_hash(case.ours) && of_hash(case.theirs)
        },
    },
    Exception {
        why: "dumps are not compressed",
        explains: |case| {
            case.is("DUMP")
                && case.ours.starts_with(b"$")
                && case.ours.len() > 30
                && case.ours.len() > case.theirs.len()
        },
    },
    Exception {
        why: "the options of BITCOUNT and BITPOS are checked before the key, as since Redis 7.2",
        explains: |case| {
            (case.is("BITCOUNT") || case.is("BITPOS"))
                && case.ours.starts_with(b"-ERR")
                && (case.theirs.starts_with(b":") || case.theirs.starts_with(b"-WRONGTYPE"))
        },
    },
    Exception {
        why: "the options of HSCAN are checked before the key",
        explains: |case| {
            let absent = case.theirs.ends_with(b"*0\r\n") || case.theirs.starts_with(b"-WRONGTYPE");
            case.is("HSCAN") && case.ours.starts_with(b"-ERR") && absent
        },
    },
    Exception {
        why: "a nested MULTI or WATCH spoils the transaction, as in Valkey 9",
        explains: |case| case.is("EXEC") && case.ours.starts_with(b"-EXECABORT"),
    },
    Exception {
        why: "the values of LCS are bounded by the time that it takes, not by memory",
        explains: |case| case.is("LCS") && case.theirs.starts_with(b"-ERR Insufficient memory"),
    },
    Exception {
        why: "a pattern of several stars matches the empty key",
        explains: |case| (case.is("KEYS") || case.is("SCAN")) && case.words.iter().any(|word| word == b"**"),
    },
    Exception {
        why: "errors quote beyond a byte of zero",
        explains: |case| {
            case.theirs.starts_with(b"-ERR unknown command") && case.words.iter().any(|word| word.contains(&0))
        },
    },
    Exception {
        why: "errors quote what is no UTF-8 with the replacement character",
        explains: |case| {
            case.ours.starts_with(b"-ERR") && case.ours.windows(3).any(|bytes| bytes == "\u{fffd}".as_bytes())
        },
    },
];

/// Why the replies may differ; `None` if they may not.
pub(super) fn reason(case: &Case<'_>) -> Option<&'static str> {
    EXCEPTIONS.iter().find(|exception| (exception.explains)(case)).map(|exception| exception.why)
}
