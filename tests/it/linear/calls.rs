//! What the clients of a history do, to what, and what they are answered.
//!
//! A history is made of tickets, which all clients draw from one counter. The ticket decides everything: tickets of one *window* go to the
//! same few objects, so that these are hot and their histories short, and every window has objects of its own, which
//! nobody touched before. Values that are written follow from the ticket too, so most are written once only, and a read
//! says which write it saw. A log therefore needs to hold the ticket, the two times and the answer, and nothing else but the one
//! value that a compare-and-set expects, which its client has seen before.

/// Tickets of one window.
const WINDOW: u64 = 256;
/// The longest values of keys, and of strings in rows.
pub(crate) const KEY_TEXT: usize = 3000;
pub(crate) const ROW_TEXT: usize = 60;
/// What is read where no client has ever written such a thing: a torn value.
pub(crate) const TORN: i64 = i64::MIN;

/// The way a client goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Way {
    Library = 1,
    Resp = 2,
    Http = 3,
}

impl Way {
    pub(crate) fn of(word: u64) -> Option<Self> {
        [Self::Library, Self::Resp, Self::Http].into_iter().find(|&way| way as u64 == word)
    }
}

/// What kind of thing an object is in the store, and which model it follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A register: a key with values of 1 to 3000 bytes.
    Key,
    /// A compare-and-set register: a row of one column.
    Cell,
    /// A counter: one of the store's counters.
    Tally,
    /// A counter: a key whose value is a number.
    Number,
    /// A register: a field of a hash that many objects share.
    Field,
    /// A counter: such a field whose value is a number.
    FieldNumber,
    /// A row of two numbers and a string.
    Row,
    /// Several rows: four of them.
    Accounts,
    /// Several rows: four keys with numbers.
    Pairs,
}

const KINDS: [Kind; 9] = [
    Kind::Key,
    Kind::Cell,
    Kind::Tally,
    Kind::Number,
    Kind::Field,
    Kind::FieldNumber,
    Kind::Row,
    Kind::Accounts,
    Kind::Pairs,
];

/// One object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Object {
    pub(crate) kind: Kind,
    pub(crate) window: u64,
    pub(crate) number: u64,
}

impl Object {
    /// Its key in the store; of several rows, that of one of them.
    pub(crate) fn key(&self, part: usize) -> String {
        format!("w{}.{}.{part}", self.window, self.number)
    }

    /// Of a field, the key of its hash, which has the fields of many windows.
    pub(crate) fn hash(&self) -> String {
        format!("hash{}", self.window % 3)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RegisterOp {
    Get,
    Set(i64),
    Delete,
    /// Read and delete.
    Take,
    /// Set if absent.
    Insert(i64),
    /// Set if present.
    Replace(i64),
    /// Set, and read what was there.
    Exchange(i64),
    /// Compare and set.
    Swap {
        expected: i64,
        new: i64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CounterOp {
    Get,
    Set(i64),
    Add(i64),
    Swap { expected: i64, new: i64 },
    Delete,
}

/// Columns a, b and s, the last of which is a string that stands for a number.
pub(crate) type RowValue = [i64; 3];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RowOp {
    Get,
    /// Some of the columns.
    Set([Option<i64>; 3]),
    Add {
        column: usize,
        by: i64,
    },
    Delete,
    /// Read and delete.
    Take,
    /// Set some of the columns if column a is as expected.
    Swap {
        expected: i64,
        new: [Option<i64>; 3],
    },
}

/// Four rows of one number each.
pub(crate) type RowsValue = [Option<i64>; 4];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RowsOp {
    Get(usize),
    GetAll,
    Set(usize, i64),
    SetTwo([(usize, i64); 2]),
    Add(usize, i64),
    Delete(usize),
    Rename {
        from: usize,
        to: usize,
    },
    /// From one to the other, as one transaction.
    Transfer {
        from: usize,
        to: usize,
        by: i64,
    },
    /// Compare and set.
    Swap {
        part: usize,
        expected: i64,
        new: i64,
    },
}

/// An operation on an object of some model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    Register(RegisterOp),
    Counter(CounterOp),
    Row(RowOp),
    Rows(RowsOp),
}

/// What an operation is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ret {
    Done,
    Flag(bool),
    Value(Option<i64>),
    Row(Option<RowValue>),
    Rows(RowsValue),
}

impl Ret {
    /// As words of a log: which answer, what of it is there, and the numbers.
    pub(crate) fn words(&self) -> [u64; 5] {
        let (tag, numbers) = match self {
            Self::Done => (1, [None; 4]),
            Self::Flag(flag) => (2, [flag.then_some(1), None, None, None]),
            Self::Value(value) => (3, [*value, None, None, None]),
            Self::Row(row) => (4, row.map_or([None; 4], |[a, b, s]| [Some(a), Some(b), Some(s), None])),
            Self::Rows(rows) => (5, *rows),
        };
        let there: u64 = (0..4).filter(|&i| numbers[i].is_some()).map(|i| 1 << i).sum();
        let [a, b, c, d] = numbers.map(|number| number.unwrap_or(0) as u64);
        [tag | there << 8, a, b, c, d]
    }

    /// From the words of a log; `None` if they are none of an answer.
    pub(crate) fn of(words: [u64; 5]) -> Option<Self> {
        let number = |i: usize| (words[0] >> (8 + i) & 1 == 1).then_some(words[1 + i] as i64);
        Some(match words[0] & 0xff {
            1 => Self::Done,
            2 => Self::Flag(number(0).is_some()),
            3 => Self::Value(number(0)),
            4 => Self::Row(number(0).map(|a| [a, number(1).unwrap_or(TORN), number(2).unwrap_or(TORN)])),
            5 => Self::Rows([number(0), number(1), number(2), number(3)]),
            _ => return None,
        })
    }

    /// A number that the client saw, to expect it in a compare-and-set.
    pub(crate) fn seen(&self) -> Option<i64> {
        match self {
            Self::Value(value) => *value,
            Self::Row(row) => row.map(|row| row[0]),
            _ => None,
        }
    }
}

/// splitmix64: the numbers that a ticket stands for.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound
    }
}

/// What the holder of a ticket does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) object: Object,
    pub(crate) op: Op,
}

impl Call {
    /// Tickets count from 1. `seen` is what a compare-and-set expects.
    pub(crate) fn of(seed: u64, ticket: u64, way: Way, seen: i64) -> Self {
        let window = ticket / WINDOW;
        let mut dice = Dice(seed ^ window << 32);
        // Every other seed stands for several rows alone: what is changed in two places has more moments to go wrong.
        let kinds = if seed.is_multiple_of(2) { &KINDS[..] } else { &[Kind::Accounts, Kind::Pairs] };
        let kind = match kinds[dice.below(kinds.len() as u64) as usize] {
            // HTTP has no hashes: its clients have a key of the same window.
            Kind::Field if way == Way::Http => Kind::Key,
            Kind::FieldNumber if way == Way::Http => Kind::Number,
            kind => kind,
        };
        let objects = match kind {
            Kind::Accounts | Kind::Pairs => 1,
            _ => 1 + dice.below(2),
        };
        let watched = dice.below(2) == 0;
        let mut dice = Dice(seed ^ ticket);
        let object = Object { kind, window, number: dice.below(objects) };
        let value = ticket as i64;
        let op = match kind {
            Kind::Key => Op::Register(register(&mut dice, value, way == Way::Http, None)),
            Kind::Cell => Op::Register(register(&mut dice, value, false, Some(seen))),
            Kind::Tally => Op::Counter(counter(&mut dice, value, Some(seen))),
            Kind::Field => Op::Register(field(&mut dice, value)),
            Kind::Number | Kind::FieldNumber => Op::Counter(counter(&mut dice, value, None)),
            Kind::Row => Op::Row(row(&mut dice, value, seen)),
            Kind::Accounts | Kind::Pairs if watched && (kind == Kind::Accounts || way != Way::Http) => {
                Op::Rows(two_watched(&mut dice, value))
            }
            Kind::Accounts => Op::Rows(rows(&mut dice, value, Can::of_rows(way), seen)),
            Kind::Pairs => Op::Rows(rows(&mut dice, value, Can::of_keys(way), seen)),
        };
        Self { object, op }
    }
}

fn register(dice: &mut Dice, value: i64, plain: bool, swap: Option<i64>) -> RegisterOp {
    match (dice.below(100), swap) {
        (0..35, _) => RegisterOp::Get,
        (35..55, _) => RegisterOp::Set(value),
        (55..61, _) => RegisterOp::Delete,
        _ if plain => RegisterOp::Set(value),
        (61..66, _) => RegisterOp::Take,
        (66..74, _) => RegisterOp::Insert(value),
        (74..82, _) => RegisterOp::Replace(value),
        (_, Some(expected)) => RegisterOp::Swap { expected, new: value },
        (_, None) => RegisterOp::Exchange(value),
    }
}

fn field(dice: &mut Dice, value: i64) -> RegisterOp {
    match dice.below(100) {
        0..40 => RegisterOp::Get,
        40..70 => RegisterOp::Set(value),
        70..85 => RegisterOp::Delete,
        _ => RegisterOp::Insert(value),
    }
}

fn counter(dice: &mut Dice, value: i64, swap: Option<i64>) -> CounterOp {
    match (dice.below(100), swap) {
        (0..25, _) => CounterOp::Get,
        (25..33, _) => CounterOp::Set(1000 * value),
        (33..36, _) => CounterOp::Delete,
        (36..55, Some(expected)) => CounterOp::Swap { expected, new: 1000 * value },
        _ => CounterOp::Add(1 + dice.below(9) as i64),
    }
}

fn row(dice: &mut Dice, value: i64, seen: i64) -> RowOp {
    match dice.below(100) {
        0..35 => RowOp::Get,
        35..52 => RowOp::Set([Some(value); 3]),
        52..66 => RowOp::Set(some_cells(dice, value)),
        66..82 => RowOp::Add { column: dice.below(2) as usize, by: 1 + dice.below(9) as i64 },
        82..87 => RowOp::Delete,
        87..91 => RowOp::Take,
        _ => RowOp::Swap { expected: seen, new: some_cells(dice, value) },
    }
}

fn some_cells(dice: &mut Dice, value: i64) -> [Option<i64>; 3] {
    let which = 1 + dice.below(7);
    [0, 1, 2].map(|i| (which >> i & 1 == 1).then_some(value))
}

/// What a client can do to several rows, besides changing each.
#[derive(Clone, Copy)]
struct Can {
    many: bool,
    rename: bool,
    transact: bool,
    swap: bool,
}

impl Can {
    fn of_rows(way: Way) -> Self {
        Self { many: true, rename: false, transact: way != Way::Http, swap: false }
    }

    fn of_keys(way: Way) -> Self {
        let all = way != Way::Http;
        Self { many: all, rename: all, transact: all, swap: all }
    }
}

fn rows(dice: &mut Dice, value: i64, can: Can, seen: i64) -> RowsOp {
    let one = dice.below(4) as usize;
    let other = (one + 1 + dice.below(3) as usize) % 4;
    match dice.below(100) {
        0..20 if can.many => RowsOp::GetAll,
        20..40 if can.many => RowsOp::SetTwo([(one, 1000 * value), (other, 1000 * value + 1)]),
        40..47 if can.rename => RowsOp::Rename { from: one, to: other },
        47..60 if can.transact => RowsOp::Transfer { from: one, to: other, by: 1 + dice.below(9) as i64 },
        60..68 if can.swap => RowsOp::Swap { part: one, expected: seen, new: 1000 * value },
        0..75 => RowsOp::Get(one),
        75..82 => RowsOp::Set(one, 1000 * value),
        82..94 => RowsOp::Add(one, 1 + dice.below(9) as i64),
        _ => RowsOp::Delete(one),
    }
}

/// Two rows that are written together only, and read one by one: whoever sees the new one first, then the old other one, has
/// looked into the middle of a write.
fn two_watched(dice: &mut Dice, value: i64) -> RowsOp {
    match dice.below(100) {
        0..20 => RowsOp::SetTwo([(0, 1000 * value), (1, 1000 * value + 1)]),
        20..25 => RowsOp::GetAll,
        _ => RowsOp::Get(dice.below(2) as usize),
    }
}

/// A value as the store keeps it: by its number a short or a long text. 0 is nothing.
pub(crate) fn text(value: i64, longest: usize) -> String {
    let len = match value % 4 {
        _ if value == 0 => return String::new(),
        0 => return value.to_string(),
        1 => 20,
        2 => 60,
        _ => 60 + (value as usize * 37) % 2940,
    };
    format!("{value:010}").chars().cycle().take(len.min(longest)).collect()
}

/// The number of a text; [`TORN`] if nobody wrote it.
pub(crate) fn number(text_read: &[u8], longest: usize) -> i64 {
    let head = std::str::from_utf8(&text_read[..text_read.len().min(10)]).unwrap_or("torn");
    let value = if head.is_empty() { 0 } else { head.parse().unwrap_or(TORN) };
    if value >= 0 && text(value, longest).as_bytes() == text_read { value } else { TORN }
}

/// A number as decimal text; [`TORN`] if it is none.
pub(crate) fn decimal(text_read: &[u8]) -> i64 {
    std::str::from_utf8(text_read).ok().and_then(|text| text.parse().ok()).unwrap_or(TORN)
}
