//! A library process that attaches to a named segment and works on it until it is killed. Usage: `librarian SEGMENT BOOK INDEX OF`.
//!
//! Its book is a file of two numbers: increments of its counter that were begun, and that were acknowledged. The file outlives the process, so
//! the next one of the same index knows what its predecessor may have left: that or one more.

use std::{
    error::Error,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    process::ExitCode,
};

use store_master::{
    Segment, Store, Table, row,
    store::{SetOptions, ValueRef},
};

type Outcome = Result<(), Box<dyn Error>>;

/// Begun and acknowledged increments, in a file.
struct Book(File);

impl Book {
    fn read(&self) -> io::Result<[u64; 2]> {
        let mut bytes = [[0; 8]; 2];
        self.0.read_exact_at(bytes.as_flattened_mut(), 0)?;
        Ok(bytes.map(u64::from_le_bytes))
    }

    fn write(&self, place: u64, value: u64) -> io::Result<()> {
        self.0.write_all_at(&value.to_le_bytes(), 8 * place)
    }
}

/// The process and what it knows.
struct Librarian {
    store: Store,
    ledger: Table,
    agree: Table,
    churn: Table,
    book: Book,
    index: u64,
    of: u64,
}

impl Librarian {
    fn new(segment: &str, book: &str, index: u64, of: u64) -> Result<Self, Box<dyn Error>> {
        let store = Store::open(Segment::attach(segment)?)?;
        let book = Book(OpenOptions::new().read(true).write(true).open(book)?);
        let (ledger, agree, churn) = (store.table("ledger")?, store.table("agree")?, store.table("churn")?);
        Ok(Self { store, ledger, agree, churn, book, index, of })
    }

    /// The counter holds what was acknowledged, or what was begun: one more.
    fn settle(&self) -> Result<u64, Box<dyn Error>> {
        let [begun, acknowledged] = self.book.read()?;
        let counted = self.store.counter(format!("librarian{}", self.index))?.get()?.unwrap_or_default() as u64;
        if !(acknowledged..=begun).contains(&counted) || begun - acknowledged > 1 {
            return Err(format!("{acknowledged} acknowledged, {counted} counted, {begun} begun").into());
        }
        self.book.write(0, counted)?;
        self.book.write(1, counted)?;
        Ok(counted)
    }

    fn work(&self) -> Outcome {
        let mut done = self.settle()?;
        loop {
            done += 1;
            self.book.write(0, done)?;
            self.store.counter(format!("librarian{}", self.index))?.increment()?;
            self.book.write(1, done)?;
            self.move_money(done as i64)?;
            self.audit(done % self.of)?;
            self.write_shared(done)?;
            self.come_and_go(done)?;
        }
    }

    /// Two rows whose sum is always 0.
    fn move_money(&self, n: i64) -> Outcome {
        let [left, right] = pair(self.index);
        self.ledger.mset(&[
            (left.as_bytes(), vec![(0, ValueRef::Int(n))]),
            (right.as_bytes(), vec![(0, ValueRef::Int(-n))]),
        ])?;
        Ok(())
    }

    fn audit(&self, index: u64) -> Outcome {
        let [left, right] = pair(index);
        let rows = self.ledger.mget(&[left.as_bytes(), right.as_bytes()])?;
        let number = |row: &Option<store_master::Row>| match row.as_ref().map(|row| row.get(0)) {
            Some(ValueRef::Int(n)) => n,
            _ => 0,
        };
        match number(&rows[0]) + number(&rows[1]) {
            0 => Ok(()),
            sum => Err(format!("the sum of {left} and {right} is {sum}").into()),
        }
    }

    /// The row that the server's clients write as well, in their pattern.
    fn write_shared(&self, n: u64) -> Outcome {
        let text: String = format!("{n:020}").repeat(3);
        self.agree.set("shared", &row! { a: n as i64, s: text, b: n as i64, c: n as f64 })?;
        Ok(())
    }

    /// Rows and values of many sizes.
    fn come_and_go(&self, n: u64) -> Outcome {
        let key = format!("key{}", n % 30);
        self.churn.set(&key, &row! { n: n as i64, s: format!("text{n}") })?;
        self.churn.delete(format!("key{}", (n + 11) % 30))?;
        let (name, other) = (format!("library{}", n % 20), format!("library{}", (n + 7) % 20));
        self.store.kv().set(0, name.as_bytes(), &vec![b'l'; (n * 37 % 9000) as usize], SetOptions::default())?;
        match n % 3 {
            0 => self.store.kv().delete(0, other.as_bytes()).map(drop)?,
            _ => self.store.kv().append(0, other.as_bytes(), b"more", 1 << 20).map(drop)?,
        }
        Ok(())
    }
}

fn pair(index: u64) -> [String; 2] {
    [format!("left{index}"), format!("right{index}")]
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [segment, book, index, of] = arguments.as_slice() else {
        eprintln!("usage: librarian SEGMENT BOOK INDEX OF");
        return ExitCode::from(2);
    };
    let (Ok(index), Ok(of)) = (index.parse(), of.parse()) else {
        eprintln!("INDEX and OF are numbers");
        return ExitCode::from(2);
    };
    let Err(error) = Librarian::new(segment, book, index, of).and_then(|librarian| librarian.work()) else {
        return ExitCode::SUCCESS;
    };
    eprintln!("librarian {index}: {error}");
    ExitCode::FAILURE
}
