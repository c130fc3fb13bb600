//! Arguments: few keys, so that commands meet each other's work, and values around every edge.

use crate::harness::Random;

type Words = Vec<Vec<u8>>;

/// Words for `{name}` in a shape.
pub(super) fn generate(name: &str, random: &mut Random, out: &mut Words) {
    match name {
        "key" => out.push(key(random)),
        "value" => out.push(value(random)),
        "hash" => out.push(if random.below(20) == 0 { key(random) } else { format!("h{}", random.below(3)).into() }),
        "field" => out.push(if random.below(6) == 0 { value(random) } else { format!("f{}", random.below(6)).into() }),
        "int" => pick(INTEGERS, random, out),
        "small" => out.push((random.below(41) as i64 - 20).to_string().into()),
        "float" => out.push(float(random)),
        "index" => pick(INDEXES, random, out),
        "offset" => pick(OFFSETS, random, out),
        "bit" => pick(&["0", "1", "1", "0", "1", "0", "2", "-1", "x"], random, out),
        "unit" => pick(&["BIT", "BYTE", "bit", "NIBBLE"], random, out),
        "bitrange" => bit_range(random, out),
        "type" => pick(TYPES, random, out),
        "fieldoffset" => pick(FIELD_OFFSETS, random, out),
        "db" => pick(&["0", "1", "2", "9", "15", "16", "-1", "x", "99999999999"], random, out),
        "count" => pick(&["1", "10", "1000", "0", "-1", "x", "9223372036854775807"], random, out),
        "pattern" => pick(PATTERNS, random, out),
        "seconds" => out.push(seconds(random)),
        "millis" => out.push(millis(random)),
        "second" => out.push(at(random, 1)),
        "milli" => out.push(at(random, 1000)),
        "expiry" => expiry(random, out),
        _ => panic!("no generator for {name}"),
    }
}

fn pick(from: &[&str], random: &mut Random, out: &mut Words) {
    out.push(from[random.below(from.len())].into());
}

/// Integers, of which most are small, and what is not one.
const INTEGERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "7",
    "10",
    "100",
    "-100",
    "255",
    "256",
    "65535",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "9223372036854775806",
    "4294967296",
    "+1",
    "01",
    "-0",
    "1.0",
    "1e3",
    "",
    " 1",
    "1 ",
    "x",
    "0x10",
    "NaN",
];

const INDEXES: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "5",
    "7",
    "10",
    "63",
    "100",
    "-1",
    "-2",
    "-3",
    "-5",
    "-10",
    "-100",
    "1000000",
    "9223372036854775807",
    "-9223372036854775808",
    "x",
    "1.5",
    "",
];

/// Offsets within a value and just beyond the largest.
const OFFSETS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "7",
    "8",
    "9",
    "15",
    "16",
    "23",
    "24",
    "25",
    "63",
    "64",
    "100",
    "1000",
    "8388607",
    "8388608",
    "1048575",
    "1048576",
    "-1",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "x",
    "",
    "01",
];

const TYPES: &[&str] = &[
    "u1", "u2", "u4", "u7", "u8", "u9", "u16", "u31", "u32", "u33", "u62", "u63", "i1", "i2", "i5", "i8", "i13", "i16",
    "i32", "i63", "i64", "u64", "i65", "u0", "i0", "U8", "8", "x", "",
];

const FIELD_OFFSETS: &[&str] =
    &["0", "1", "3", "7", "8", "13", "64", "100", "#0", "#1", "#2", "#7", "-1", "#-1", "x", "#x", "8388608"];

const PATTERNS: &[&str] =
    &["*", "a", "?", "[a-c]", "[^a]", "[c-a]", "\\a", "*k*", "a*", "**", "", "[", "[a", "[^", "\\", "h?", "key[12]"];

/// Keys, of which some differ from others by a byte only.
fn key(random: &mut Random) -> Vec<u8> {
    match random.below(40) {
        0 => Vec::new(),
        1 => b"\0".to_vec(),
        2 => b"a\r\nb".to_vec(),
        3 => vec![b'k'; 24],
        4 => vec![b'k'; 25],
        5 => vec![b'k'; 300],
        6 => b"\xff\xfe".to_vec(),
        n if n < 12 => b"n".to_vec(),
        n => vec![b'a' + (n % 6) as u8],
    }
}

fn value(random: &mut Random) -> Vec<u8> {
    let length = |random: &mut Random| match random.below(12) {
        0 => 44 + random.below(3),
        1 => 62 + random.below(4),
        2 => random.below(600),
        _ => random.below(12),
    };
    match random.below(10) {
        0 | 1 => INTEGERS[random.below(INTEGERS.len())].into(),
        2 => float(random),
        3 => (random.below(2000) as i64 - 1000).to_string().into(),
        4 => vec![[0, 0xff, b'a'][random.below(3)]; length(random)],
        5 => (0..length(random)).map(|_| random.next() as u8).collect(),
        6 => (0..length(random)).map(|i| b'a' + (i % 3) as u8).collect(),
        _ => (0..length(random)).map(|_| b"abc"[random.below(3)]).collect(),
    }
}

fn float(random: &mut Random) -> Vec<u8> {
    const FLOATS: &[&str] = &[
        "0",
        "-0",
        "0.0",
        "1",
        "1.5",
        "-1.5",
        "3.0",
        "1.1",
        "0.1",
        "0.2",
        "0.3",
        "10.5",
        "5.0e3",
        "2.0e2",
        "1e10",
        "1e17",
        "1e18",
        "1e19",
        "1e20",
        "1e300",
        "1e308",
        "1e309",
        "-1e400",
        "1e4000",
        "1e4932",
        "1e5000",
        "1e-5",
        "1e-10",
        "1e-17",
        "1e-18",
        "1e-300",
        "1e-4000",
        "1e-5000",
        "inf",
        "-inf",
        "+inf",
        "infinity",
        "nan",
        "0x10",
        "0x1p3",
        "0x1.8p-2",
        "+1.5",
        ".5",
        "5.",
        ".",
        "",
        " 1",
        "1 ",
        "1_000",
        "1,5",
        "abc",
        "17179869184",
        "9007199254740993",
        "9223372036854775807",
        "18446744073709551615",
        "18446744073709551616",
        "123456789.123456789",
        "0.1234567890123456789",
        "99999999999999999999.5",
        "3.14159265358979323846",
        "-2.71828182845904523536",
        "0.00000000000000001",
    ];
    match random.below(3) {
        0 => FLOATS[random.below(FLOATS.len())].into(),
        1 => {
            let places = random.below(6);
            let number = (random.next() >> 20) % 10_u64.pow(9);
            let sign = ["", "-"][random.below(2)];
            format!("{sign}{}.{:0width$}", number / 1000, number % 10_u64.pow(places as u32), width = places.max(1))
                .into()
        }
        _ => {
            let (whole, part) = (random.next() >> random.below(64), random.next() >> random.below(64));
            format!("{whole}.{part}e{}", random.below(25) as i64 - 12).into()
        }
    }
}

/// A time that no run lives to see, one that has passed, or none at all. Two of them are hardly ever as good as the same.
fn seconds(random: &mut Random) -> Vec<u8> {
    odd_time(random).unwrap_or_else(|| (100_000 + random.below(10_000_000)).to_string().into())
}

fn millis(random: &mut Random) -> Vec<u8> {
    odd_time(random).unwrap_or_else(|| (100_000_000 + random.below(1_000_000_000)).to_string().into())
}

/// A time of the clock, in seconds or milliseconds.
fn at(random: &mut Random, per_second: u64) -> Vec<u8> {
    let far = 4_000_000_000 + random.below(1_000_000) as u64;
    odd_time(random).unwrap_or_else(|| (far * per_second).to_string().into())
}

fn odd_time(random: &mut Random) -> Option<Vec<u8>> {
    const ODD: &[&str] = &[
        "0",
        "-1",
        "-100000",
        "1.5",
        "x",
        "",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775",
        "9223372036854776",
        "-9223372036854775",
        "-9223372036854776",
        "99999999999999999999",
    ];
    (random.below(6) == 0).then(|| ODD[random.below(ODD.len())].into())
}

/// The words that give a written key its expiry.
fn expiry(random: &mut Random, out: &mut Words) {
    let (word, name) = [("EX", "seconds"), ("PX", "millis"), ("EXAT", "second"), ("PXAT", "milli")][random.below(4)];
    out.push(if random.below(8) == 0 { word.to_ascii_lowercase().into() } else { word.into() });
    generate(name, random, out);
}

fn bit_range(random: &mut Random, out: &mut Words) {
    for name in ["index", "index", "unit"] {
        if random.below(4) == 0 {
            return;
        }
        generate(name, random, out);
    }
}
