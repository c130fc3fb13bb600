//! Reading and writing rows: defaults, refusals, conditions, sums, capacity, expiry.

use super::common::{
    Dice, FAR, FAR_MS, NAME, PAST, RATIO, SCORE, columns, fill, is, key, score, set_until, soon_ms, user, users,
    users_of, wait_past,
};
use crate::{
    Column, Error, Store, Table, Value, row,
    store::{Cell, Condition, Expiry, Ttl, ValueRef},
};

fn full(table: &Table) -> Error {
    Error::TableFull { table: "users".to_owned(), rows: table.schema().spec().rows }
}

fn wrong_type(column: &str, expected: &str) -> Error {
    Error::WrongType { column: column.to_owned(), expected: expected.to_owned() }
}

// What a write leaves behind.

pub(crate) fn a_new_row_has_zeros_elsewhere(store: &Store) {
    let table = users(store);
    table.set("a", &row! { score: 7 }).unwrap();
    table.set("b", &row! { name: "bob" }).unwrap();
    table.set("c", &[]).unwrap();
    assert_eq!(user(&table, "a"), is("", 7, 0.0));
    assert_eq!(user(&table, "b"), is("bob", 0, 0.0));
    assert_eq!(user(&table, "c"), is("", 0, 0.0));
}

pub(crate) fn an_old_row_keeps_what_is_not_written(store: &Store) {
    let table = users(store);
    table.set("a", &row! { name: "ann", score: 7, ratio: 0.5 }).unwrap();
    table.set("a", &row! { score: 8 }).unwrap();
    assert_eq!(user(&table, "a"), is("ann", 8, 0.5));
    table.set("a", &[]).unwrap();
    assert_eq!(user(&table, "a"), is("ann", 8, 0.5));
    assert_eq!(table.count(), Ok(1));
}

pub(crate) fn a_row_that_comes_back_is_new(store: &Store) {
    let table = users(store);
    table.set("a", &row! { name: "ann", score: 7, ratio: 0.5 }).unwrap();
    table.delete("a").unwrap();
    table.set("a", &row! { ratio: 1.5 }).unwrap();
    assert_eq!(user(&table, "a"), is("", 0, 1.5));
}

pub(crate) fn of_equal_columns_the_last_wins(store: &Store) {
    let table = users(store);
    table.set("a", &row! { score: 1, score: 2 }).unwrap();
    assert_eq!(user(&table, "a"), is("", 2, 0.0));
}

pub(crate) fn strings_are_binary_and_leave_no_rest(store: &Store) {
    let table = users(store);
    for value in [&b"sixteen bytes !!"[..], b"\0\xff\0", b"", b"ab\0", b"ab"] {
        table.set("a", &[("name", value.into())]).unwrap();
        assert_eq!(table.get("a").unwrap().unwrap().get(NAME), ValueRef::Bytes(value));
    }
}

pub(crate) fn numbers_keep_every_bit(store: &Store) {
    let table = users(store);
    for n in [i64::MIN, -1, 0, 1, i64::MAX] {
        table.set("a", &row! { score: n }).unwrap();
        assert_eq!(table.get("a").unwrap().unwrap().value("score"), Ok(Value::Int(n)));
    }
    for x in [f64::MIN, -0.0, 0.0, f64::MIN_POSITIVE, 5e-324, 0.1, f64::MAX] {
        table.set("a", &row! { ratio: x }).unwrap();
        assert_eq!(user(&table, "a").unwrap().2.to_bits(), x.to_bits());
    }
}

pub(crate) fn keys_are_binary_and_distinct(store: &Store) {
    let table = users_of(store, 16);
    let longest = [b'k'; 64];
    let keys: [&[u8]; 10] = [b"a", b"a\0", b"a\0\0", b"\0", b"\0\0", b"\xff", b"A", b" a", &longest[..63], &longest];
    for (i, key) in keys.iter().enumerate() {
        table.set(key, &row! { score: i as i64 }).unwrap();
    }
    assert_eq!(table.count(), Ok(10));
    for (i, key) in keys.iter().enumerate() {
        assert_eq!(user(&table, key), is("", i as i64, 0.0));
    }
}

pub(crate) fn reading_overwrites_a_reused_row(store: &Store) {
    let table = users(store);
    table.set("a", &row! { name: "ann", score: 1, ratio: 1.0 }).unwrap();
    table.set("b", &row! { score: 2 }).unwrap();
    let mut row = table.row();
    assert_eq!(table.read(b"a", &mut row), Ok(true));
    assert_eq!(table.read(b"b", &mut row), Ok(true));
    assert_eq!(Some(columns(&row)), is("", 2, 0.0));
    assert_eq!(table.read(b"c", &mut row), Ok(false));
}

pub(crate) fn a_missing_row_is_a_miss(store: &Store) {
    let table = users(store);
    assert_eq!(table.get("a"), Ok(None));
    assert_eq!(table.getdel("a"), Ok(None));
    assert_eq!(table.delete("a"), Ok(false));
    assert_eq!(table.ttl(b"a"), Ok(Ttl::Missing));
    assert_eq!(table.expire(b"a", FAR), Ok(false));
    assert_eq!(table.expire(b"a", PAST), Ok(false));
    assert_eq!(table.expire(b"a", Expiry::Never), Ok(false));
    assert_eq!(table.cas(b"a", &[], &[score(1)]), Ok(None));
    assert_eq!(table.mget(&[b"a"]), Ok(vec![None]));
    assert_eq!(table.count(), Ok(0));
}

// Refusals, after which everything is as before.

pub(crate) fn a_refused_write_changes_nothing(store: &Store) {
    let table = users(store);
    table.set("old", &row! { name: "ann", score: 7 }).unwrap();
    let unknown = Error::UnknownColumn { table: "users".to_owned(), column: "age".to_owned() };
    let too_long = Error::ValueTooLong { column: "name".to_owned(), len: 17, max: 16 };
    let seventeen = || Value::from("x".repeat(17));
    for key in ["old", "new"] {
        assert_eq!(table.set(key, &row! { score: 1, age: 3 }), Err(unknown.clone()));
        assert_eq!(table.set(key, &row! { score: 1, name: seventeen() }), Err(too_long.clone()));
        assert_eq!(table.set(key, &row! { name: "x", score: "1" }), Err(wrong_type("score", "int")));
        assert_eq!(table.set(key, &row! { name: "x", score: 1.0 }), Err(wrong_type("score", "int")));
        assert_eq!(table.set(key, &row! { score: 1, ratio: 1 }), Err(wrong_type("ratio", "float (finite)")));
        assert_eq!(table.set(key, &row! { score: 1, name: 1 }), Err(wrong_type("name", "string(16)")));
        for x in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(table.set(key, &row! { score: 1, ratio: x }), Err(wrong_type("ratio", "float (finite)")));
        }
        assert_eq!(table.add(key, &row! { age: 3 }), Err(unknown.clone()));
        assert_eq!(table.update(key, &row! { name: seventeen() }), Err(too_long.clone()));
    }
    assert_eq!(user(&table, "old"), is("ann", 7, 0.0));
    assert_eq!((table.get("new"), table.count()), (Ok(None), Ok(1)));
}

pub(crate) fn a_key_that_does_not_fit_is_never_cut(store: &Store) {
    let table = users(store);
    let (longest, longer) = ([b'k'; 64], [b'k'; 65]);
    let refused = Error::KeyTooLong { len: 65, max: 64 };
    table.set(longest, &row! { score: 7 }).unwrap();
    assert_eq!(table.set(longer, &row! { score: 1 }), Err(refused.clone()));
    assert_eq!(table.incr(longer, "score", 1), Err(refused.clone()));
    assert_eq!(table.get(longer), Err(refused.clone()));
    assert_eq!(table.delete(longer), Err(refused.clone()));
    assert_eq!(table.mget(&[&longest, &longer]), Err(refused.clone()));
    assert_eq!(table.mset(&[(&longest, vec![score(1)]), (&longer, vec![score(1)])]), Err(refused));
    assert_eq!(table.set("", &row! { score: 1 }), Err(Error::EmptyKey));
    assert_eq!(table.get(""), Err(Error::EmptyKey));
    assert_eq!((user(&table, longest), table.count()), (is("", 7, 0.0), Ok(1)));
}

// Conditions.

pub(crate) fn add_writes_only_what_is_absent(store: &Store) {
    let table = users(store);
    assert_eq!(table.add("a", &row! { score: 1 }), Ok(true));
    assert_eq!(table.add("a", &row! { score: 2, name: "x" }), Ok(false));
    assert_eq!(user(&table, "a"), is("", 1, 0.0));
}

pub(crate) fn update_writes_only_what_is_present(store: &Store) {
    let table = users(store);
    assert_eq!(table.update("a", &row! { score: 1 }), Ok(false));
    assert_eq!(table.count(), Ok(0));
    table.set("a", &row! { name: "ann" }).unwrap();
    assert_eq!(table.update("a", &row! { score: 2 }), Ok(true));
    assert_eq!(user(&table, "a"), is("ann", 2, 0.0));
}

pub(crate) fn a_refused_condition_leaves_the_expiry(store: &Store) {
    let table = users(store);
    set_until(&table, "a", 1, FAR);
    assert_eq!(table.write(b"a", &[score(2)], Expiry::Never, Condition::IfAbsent), Ok(false));
    assert_eq!(table.write(b"a", &[score(2)], PAST, Condition::IfAbsent), Ok(false));
    assert_eq!((table.ttl(b"a"), user(&table, "a")), (Ok(Ttl::At(FAR_MS)), is("", 1, 0.0)));
}

// Sums.

pub(crate) fn incr_makes_the_row_and_adds(store: &Store) {
    let table = users(store);
    assert_eq!(table.incr("a", "score", 5), Ok(5));
    assert_eq!(table.incr("a", "score", -7), Ok(-2));
    assert_eq!(table.incr("a", "score", 0), Ok(-2));
    assert_eq!(user(&table, "a"), is("", -2, 0.0));
    assert_eq!(table.incr("b", "score", 0), Ok(0));
    assert_eq!(table.count(), Ok(2));
}

pub(crate) fn incr_leaves_the_other_columns(store: &Store) {
    let table = users(store);
    table.set("a", &row! { name: "ann", score: 1, ratio: 0.5 }).unwrap();
    table.incr("a", "score", 1).unwrap();
    assert_eq!(user(&table, "a"), is("ann", 2, 0.5));
}

pub(crate) fn an_integer_that_would_overflow_stays(store: &Store) {
    let table = users(store);
    for (edge, by) in [(i64::MAX, 1), (i64::MIN, -1), (-1, i64::MIN), (1, i64::MAX)] {
        table.set("a", &row! { score: edge, name: "x" }).unwrap();
        assert_eq!(table.incr("a", "score", by), Err(Error::Overflow));
        assert_eq!(user(&table, "a"), is("x", edge, 0.0));
    }
    assert_eq!(table.incr("b", "score", i64::MIN), Ok(i64::MIN));
    assert_eq!(table.incr("c", "score", i64::MAX), Ok(i64::MAX));
}

pub(crate) fn a_float_takes_a_float_step(store: &Store) {
    let table = users(store);
    let add = |x| table.add_cell(b"a", RATIO, ValueRef::Float(x));
    assert_eq!(add(0.5), Ok(Value::Float(0.5)));
    assert_eq!(add(-2.0), Ok(Value::Float(-1.5)));
    assert_eq!(add(f64::MIN), Ok(Value::Float(f64::MIN)));
    assert_eq!(add(f64::MIN), Err(Error::Overflow));
    assert_eq!(add(f64::NAN), Err(wrong_type("ratio", "float (finite)")));
    assert_eq!(add(f64::INFINITY), Err(wrong_type("ratio", "float (finite)")));
    assert_eq!(user(&table, "a"), is("", 0, f64::MIN));
}

pub(crate) fn a_refused_sum_makes_no_phantom_row(store: &Store) {
    let table = users(store);
    assert_eq!(table.incr("a", "name", 1), Err(wrong_type("name", "string(16)")));
    assert_eq!(table.incr("a", "ratio", 1), Err(wrong_type("ratio", "float (finite)")));
    assert!(matches!(table.incr("a", "age", 1), Err(Error::UnknownColumn { .. })));
    assert_eq!(table.add_cell(b"a", SCORE, ValueRef::Float(1.5)), Err(wrong_type("score", "int")));
    assert_eq!(table.add_cell(b"a", NAME, ValueRef::Bytes(b"x")), Err(wrong_type("name", "string(16)")));
    assert_eq!(table.add_cell(b"a", RATIO, ValueRef::Float(f64::NAN)), Err(wrong_type("ratio", "float (finite)")));
    assert_eq!((table.get("a"), table.count()), (Ok(None), Ok(0)));
}

pub(crate) fn incr_keeps_the_expiry(store: &Store) {
    let table = users(store);
    set_until(&table, "a", 1, FAR);
    assert_eq!(table.incr("a", "score", 1), Ok(2));
    assert_eq!(table.ttl(b"a"), Ok(Ttl::At(FAR_MS)));
    table.incr("b", "score", 1).unwrap();
    assert_eq!(table.ttl(b"b"), Ok(Ttl::Never));
}

// Compare and set.

pub(crate) fn cas_sets_only_what_is_as_expected(store: &Store) {
    let table = users(store);
    table.set("a", &row! { name: "ann", score: 1, ratio: 0.5 }).unwrap();
    assert_eq!(table.cas(b"a", &[score(2)], &[score(9)]), Ok(Some(false)));
    assert_eq!(user(&table, "a"), is("ann", 1, 0.5));
    assert_eq!(table.cas(b"a", &[score(1)], &[score(2), (NAME, ValueRef::Bytes(b"bob"))]), Ok(Some(true)));
    assert_eq!(user(&table, "a"), is("bob", 2, 0.5));
    assert_eq!(table.cas(b"a", &[score(2)], &[]), Ok(Some(true)));
    assert_eq!(user(&table, "a"), is("bob", 2, 0.5));
}

pub(crate) fn cas_compares_all_of_what_it_is_given(store: &Store) {
    let table = users(store);
    table.set("a", &row! { name: "ann", score: 1, ratio: 0.0 }).unwrap();
    let name = |bytes: &'static [u8]| (NAME, ValueRef::Bytes(bytes));
    let cases: [(&[Cell<'_>], bool); 8] = [
        (&[], true),
        (&[score(1), name(b"ann")], true),
        (&[score(1), name(b"bob")], false),
        (&[score(2), name(b"ann")], false),
        (&[name(b"an")], false),
        (&[name(b"ann\0")], false),
        (&[(RATIO, ValueRef::Float(-0.0))], true),
        (&[score(1), score(2)], false),
    ];
    for (expect, equal) in cases {
        assert_eq!(table.cas(b"a", expect, &[]), Ok(Some(equal)), "{expect:?}");
    }
}

pub(crate) fn a_refused_cas_changes_nothing(store: &Store) {
    let table = users(store);
    set_until(&table, "a", 1, FAR);
    assert_eq!(
        table.cas(b"a", &[score(1)], &[score(2), (NAME, ValueRef::Int(1))]),
        Err(wrong_type("name", "string(16)"))
    );
    assert_eq!(table.cas(b"a", &[(NAME, ValueRef::Int(1))], &[score(2)]), Err(wrong_type("name", "string(16)")));
    let long = ValueRef::Bytes(&[0; 17]);
    assert!(matches!(table.cas(b"a", &[], &[score(2), (NAME, long)]), Err(Error::ValueTooLong { .. })));
    assert_eq!(user(&table, "a"), is("", 1, 0.0));
    assert_eq!(table.cas(b"a", &[score(1)], &[score(2)]), Ok(Some(true)));
    assert_eq!(table.ttl(b"a"), Ok(Ttl::At(FAR_MS)));
}

// Deleting.

pub(crate) fn the_last_to_release_a_row_deletes_it(store: &Store) {
    let table = store.make("uses", 4, &[Column::int("a"), Column::int("b"), Column::string("s", 8)]).unwrap();
    for column in [0, 1, 1] {
        table.add_cell(b"k", column, ValueRef::Int(1)).unwrap();
    }
    table.write(b"k", &[(2, ValueRef::Bytes(b"text"))], Expiry::Keep, Condition::Always).unwrap();
    assert_eq!((table.release("k", 1, 1), table.release("k", 0, 1)), (Ok(true), Ok(true)));
    let row = table.get("k").unwrap().unwrap();
    assert_eq!((row.get(0), row.get(1)), (ValueRef::Int(0), ValueRef::Int(1)));
    assert_eq!((table.release("k", 1, 1), table.get("k"), table.count()), (Ok(true), Ok(None), Ok(0)));
    assert_eq!(table.release("k", 1, 1), Ok(false));
    assert!(matches!(table.release("k", 2, 1), Err(Error::WrongType { .. })));
}

pub(crate) fn delete_says_whether_there_was_a_row(store: &Store) {
    let table = users(store);
    fill(&table, 3);
    assert_eq!((table.delete(key(1)), table.delete(key(1))), (Ok(true), Ok(false)));
    assert_eq!((table.count(), table.get(key(1))), (Ok(2), Ok(None)));
    assert_eq!((user(&table, key(0)), user(&table, key(2))), (is("", 0, 0.0), is("", 2, 0.0)));
}

pub(crate) fn getdel_gives_the_row_back_once(store: &Store) {
    let table = users(store);
    table.set("a", &row! { name: "ann", score: 3, ratio: 0.5 }).unwrap();
    assert_eq!(table.getdel("a").unwrap().as_ref().map(columns), is("ann", 3, 0.5));
    assert_eq!((table.getdel("a"), table.count()), (Ok(None), Ok(0)));
}

// Capacity.

pub(crate) fn exactly_so_many_rows_fit(store: &Store) {
    for rows in [1, 2, 3, 7, 8, 15, 16, 17, 31, 64, 100, 1000] {
        let table = users_of(store, rows);
        fill(&table, rows);
        assert_eq!(table.set("more", &row! { score: 1 }), Err(full(&table)), "{rows}");
        assert_eq!((table.count(), table.get("more")), (Ok(rows), Ok(None)));
        assert!((0..rows).all(|i| user(&table, key(i)) == is("", i as i64, 0.0)), "{rows}");
        store.drop_table("users").unwrap();
    }
}

pub(crate) fn capacity_does_not_depend_on_the_keys(store: &Store) {
    let shapes: [fn(u64) -> Vec<u8>; 5] = [
        |i| i.to_le_bytes().to_vec(),
        |i| (i << 48).to_be_bytes().to_vec(),
        |i| vec![b'x'; i as usize + 1],
        |i| vec![0; i as usize + 1],
        |i| [&[b'p'; 56][..], &i.to_be_bytes()].concat(),
    ];
    for shape in shapes {
        let table = users_of(store, 60);
        for i in 0..60 {
            table.set(shape(i), &row! { score: i as i64 }).unwrap();
        }
        assert_eq!(table.set(shape(60), &[]), Err(full(&table)));
        assert!((0..60).all(|i| user(&table, shape(i)) == is("", i as i64, 0.0)));
        store.drop_table("users").unwrap();
    }
}

pub(crate) fn capacity_stays_exact_under_churn(store: &Store) {
    let (rows, mut dice) = (50, Dice::new());
    let table = users_of(store, rows);
    fill(&table, rows);
    let mut present: Vec<u64> = (0..rows).collect();
    for new in rows..rows + 3000 {
        assert_eq!(table.set(key(new), &[]), Err(full(&table)));
        let place = dice.roll(rows) as usize;
        assert_eq!(table.delete(key(present[place])), Ok(true));
        table.set(key(new), &row! { score: new as i64 }).unwrap();
        present[place] = new;
    }
    assert_eq!(table.count(), Ok(rows));
    assert!(present.iter().all(|&i| user(&table, key(i)) == is("", i as i64, 0.0)));
}

pub(crate) fn a_table_can_be_emptied_and_filled_again(store: &Store) {
    let table = users_of(store, 100);
    for round in 0..20 {
        for i in 0..100 {
            table.set(key(round * 100 + i), &[]).unwrap();
        }
        assert_eq!(table.set("more", &[]), Err(full(&table)));
        for i in 0..100 {
            assert_eq!(table.delete(key(round * 100 + i)), Ok(true));
        }
        assert_eq!(table.count(), Ok(0));
    }
}

pub(crate) fn a_full_table_refuses_only_new_rows(store: &Store) {
    let table = users(store);
    fill(&table, 8);
    assert_eq!(table.incr("more", "score", 1), Err(full(&table)));
    assert_eq!(table.add("more", &[]), Err(full(&table)));
    assert_eq!(table.update("more", &[]), Ok(false));
    assert_eq!(table.cas(b"more", &[], &[score(1)]), Ok(None));
    assert_eq!(table.delete("more"), Ok(false));
    assert_eq!(table.count(), Ok(8));

    table.set(key(1), &row! { name: "x" }).unwrap();
    assert_eq!(table.add(key(1), &[]), Ok(false));
    assert_eq!(table.incr(key(1), "score", 1), Ok(2));
    assert_eq!(table.cas(&key(1), &[score(2)], &[score(3)]), Ok(Some(true)));
    assert_eq!(user(&table, key(1)), is("x", 3, 0.0));
    assert!(table.getdel(key(2)).unwrap().is_some());
    assert_eq!(table.incr("more", "score", 1), Ok(1));
    assert_eq!(table.incr("even more", "score", 1), Err(full(&table)));
}

pub(crate) fn count_follows_every_change(store: &Store) {
    let (table, mut dice) = (users_of(store, 40), Dice::new());
    let mut present = std::collections::BTreeSet::new();
    for _ in 0..2000 {
        let i = dice.roll(60);
        if dice.roll(2) == 0 {
            assert_eq!(table.delete(key(i)), Ok(present.remove(&i)));
        } else if table.incr(key(i), "score", 1).is_ok() {
            present.insert(i);
        } else {
            assert_eq!(present.len(), 40);
        }
        assert_eq!(table.count(), Ok(present.len() as u64));
    }
}

// Several rows at once.

pub(crate) fn mget_answers_in_the_order_of_the_keys(store: &Store) {
    let table = users(store);
    fill(&table, 3);
    let rows = table.mget(&[b"key:2", b"none", b"key:0", b"key:2"]).unwrap();
    let scores: Vec<_> = rows.iter().map(|row| row.as_ref().map(|row| columns(row).1)).collect();
    assert_eq!(scores, [Some(2), None, Some(0), Some(2)]);
    assert_eq!(table.mget(&[]), Ok(vec![]));
}

pub(crate) fn mset_makes_and_changes_rows(store: &Store) {
    let table = users(store);
    table.set("a", &row! { name: "ann", score: 1 }).unwrap();
    set_until(&table, "b", 1, FAR);
    table.mset(&[(b"a", vec![score(2)]), (b"b", vec![score(3)]), (b"c", vec![]), (b"d", vec![score(4)])]).unwrap();
    assert_eq!(user(&table, "a"), is("ann", 2, 0.0));
    assert_eq!((user(&table, "b"), table.ttl(b"b")), (is("", 3, 0.0), Ok(Ttl::At(FAR_MS))));
    assert_eq!(user(&table, "c"), is("", 0, 0.0));
    assert_eq!((user(&table, "d"), table.ttl(b"d")), (is("", 4, 0.0), Ok(Ttl::Never)));
    table.mset(&[]).unwrap();
    assert_eq!(table.count(), Ok(4));
}

pub(crate) fn mset_of_equal_keys_applies_them_in_order(store: &Store) {
    let table = users(store);
    let name = (NAME, ValueRef::Bytes(b"x"));
    table.mset(&[(b"a", vec![score(1), name]), (b"b", vec![]), (b"a", vec![score(2)])]).unwrap();
    assert_eq!((user(&table, "a"), table.count()), (is("x", 2, 0.0), Ok(2)));
}

pub(crate) fn a_batch_has_at_most_64_rows(store: &Store) {
    let table = users_of(store, 100);
    let keys: Vec<_> = (0..65).map(key).collect();
    let rows: Vec<_> = keys.iter().map(|key| (key.as_slice(), vec![score(1)])).collect();
    let keys: Vec<_> = keys.iter().map(Vec::as_slice).collect();
    let refused = Error::TooLarge { what: "rows in one batch", len: 65, max: 64 };
    assert_eq!(table.mset(&rows), Err(refused.clone()));
    assert_eq!(table.mget(&keys), Err(refused));
    assert_eq!(table.count(), Ok(0));
    table.mset(&rows[..64]).unwrap();
    assert!(table.mget(&keys[..64]).unwrap().iter().all(Option::is_some));
    assert_eq!(table.count(), Ok(64));
}

pub(crate) fn mset_is_refused_as_a_whole(store: &Store) {
    let table = users(store);
    fill(&table, 6);
    let new = [b"n0", b"n1", b"n2"];
    let mut rows: Vec<(&[u8], _)> = new.iter().map(|key| (key.as_slice(), vec![score(9)])).collect();
    rows.push((b"key:0", vec![score(9)]));
    assert_eq!(table.mset(&rows), Err(full(&table)));
    assert_eq!(
        table.mset(&[(b"n0", vec![]), (b"key:0", vec![(SCORE, ValueRef::Float(1.0))])]),
        Err(wrong_type("score", "int"))
    );
    assert_eq!(table.mset(&[(b"n0", vec![]), (b"", vec![])]), Err(Error::EmptyKey));
    assert_eq!((user(&table, "n0"), user(&table, key(0)), table.count()), (None, is("", 0, 0.0), Ok(6)));

    // The same batch with one new row less, twice named, fits to the last row.
    rows[2].0 = b"n1";
    table.mset(&rows).unwrap();
    assert_eq!((user(&table, "n1"), user(&table, key(0)), table.count()), (is("", 9, 0.0), is("", 9, 0.0), Ok(8)));
}

// Expiry.

pub(crate) fn a_row_expires_only_if_told_to(store: &Store) {
    let table = users(store);
    table.set("a", &[]).unwrap();
    assert_eq!(table.ttl(b"a"), Ok(Ttl::Never));
    assert_eq!(table.expire(b"a", Expiry::Never), Ok(false));
    assert_eq!(table.expire(b"a", FAR), Ok(true));
    assert_eq!(table.ttl(b"a"), Ok(Ttl::At(FAR_MS)));
    assert_eq!(table.expire(b"a", Expiry::At(FAR_MS + 1)), Ok(true));
    assert_eq!(table.ttl(b"a"), Ok(Ttl::At(FAR_MS + 1)));
    assert_eq!(table.expire(b"a", Expiry::Never), Ok(true));
    assert_eq!(table.ttl(b"a"), Ok(Ttl::Never));
}

pub(crate) fn a_write_keeps_sets_or_takes_the_expiry(store: &Store) {
    let table = users(store);
    set_until(&table, "a", 1, FAR);
    assert_eq!(table.ttl(b"a"), Ok(Ttl::At(FAR_MS)));
    table.set("a", &row! { score: 2 }).unwrap();
    assert_eq!(table.ttl(b"a"), Ok(Ttl::At(FAR_MS)));
    set_until(&table, "a", 3, Expiry::Never);
    assert_eq!(table.ttl(b"a"), Ok(Ttl::Never));
    set_until(&table, "b", 1, Expiry::Keep);
    assert_eq!(table.ttl(b"b"), Ok(Ttl::Never));
}

pub(crate) fn a_row_that_comes_back_has_no_expiry(store: &Store) {
    let table = users(store);
    set_until(&table, "a", 1, FAR);
    table.delete("a").unwrap();
    table.set("a", &[]).unwrap();
    assert_eq!(table.ttl(b"a"), Ok(Ttl::Never));
}

pub(crate) fn an_expiry_that_has_passed_deletes(store: &Store) {
    let table = users(store);
    fill(&table, 8);
    set_until(&table, "key:0", 1, PAST);
    assert_eq!(table.expire(&key(1), PAST), Ok(true));
    assert_eq!(table.expire(&key(2), Expiry::At(0)), Ok(true));
    assert_eq!(table.write(&key(3), &[], PAST, Condition::IfPresent), Ok(true));
    assert!((0..4).all(|i| user(&table, key(i)).is_none()));
    assert_eq!(table.write(b"new", &[score(1)], PAST, Condition::IfAbsent), Ok(true));
    assert_eq!((table.get("new"), table.ttl(&key(1))), (Ok(None), Ok(Ttl::Missing)));
    (0..4).for_each(|i| table.set(key(10 + i), &[]).unwrap());
    assert_eq!((table.count(), table.set("more", &[])), (Ok(8), Err(full(&table))));
}

/// A table whose rows `a`, `b`, ... `h` have just expired, and one more that has not.
fn expired(store: &Store) -> Table {
    let table = users_of(store, 9);
    table.set("fresh", &row! { score: 1 }).unwrap();
    let at_ms = soon_ms();
    for key in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        set_until(&table, key, 5, Expiry::At(at_ms));
    }
    wait_past(at_ms);
    table
}

pub(crate) fn an_expired_row_is_a_miss_to_every_reader(store: &Store) {
    let table = expired(store);
    assert_eq!(table.get("a"), Ok(None));
    assert_eq!(table.ttl(b"b"), Ok(Ttl::Missing));
    let rows = table.mget(&[b"c", b"fresh"]).unwrap();
    assert_eq!(rows.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true]);
    assert_eq!(table.getdel("d"), Ok(None));
    assert_eq!(table.delete("e"), Ok(false));
    assert_eq!(table.cas(b"f", &[], &[score(1)]), Ok(None));
    assert_eq!(table.update("g", &[]), Ok(false));
    let page = table.scan(0, 100).unwrap();
    assert_eq!(page.rows.iter().map(|(key, _)| key.as_slice()).collect::<Vec<_>>(), [b"fresh"]);
}

pub(crate) fn an_expired_row_cannot_be_brought_back(store: &Store) {
    let table = expired(store);
    assert_eq!(table.expire(b"a", FAR), Ok(false));
    assert_eq!(table.expire(b"b", Expiry::Never), Ok(false));
    assert_eq!((table.get("a"), table.get("b")), (Ok(None), Ok(None)));
}

pub(crate) fn a_write_to_an_expired_row_makes_a_new_one(store: &Store) {
    let table = expired(store);
    table.set("a", &row! { name: "x" }).unwrap();
    assert_eq!((user(&table, "a"), table.ttl(b"a")), (is("x", 0, 0.0), Ok(Ttl::Never)));
    assert_eq!(table.incr("b", "score", 1), Ok(1));
    assert_eq!(table.ttl(b"b"), Ok(Ttl::Never));
    assert_eq!(table.add("c", &row! { ratio: 0.5 }), Ok(true));
    assert_eq!(user(&table, "c"), is("", 0, 0.5));
    table.mset(&[(b"d", vec![(NAME, ValueRef::Bytes(b"y"))])]).unwrap();
    assert_eq!((user(&table, "d"), table.ttl(b"d")), (is("y", 0, 0.0), Ok(Ttl::Never)));
}

pub(crate) fn expired_rows_make_room(store: &Store) {
    let table = expired(store);
    for i in 0..7 {
        table.set(key(i), &[]).unwrap();
    }
    table.mset(&[(b"last", vec![])]).unwrap();
    assert_eq!((table.count(), table.set("more", &[])), (Ok(9), Err(full(&table))));
    assert_eq!(user(&table, "fresh"), is("", 1, 0.0));
}

pub(crate) fn expired_rows_make_room_for_a_batch(store: &Store) {
    let table = expired(store);
    let keys: Vec<_> = (0..8).map(key).collect();
    table.mset(&keys.iter().map(|key| (key.as_slice(), vec![])).collect::<Vec<_>>()).unwrap();
    assert_eq!((table.count(), table.incr("more", "score", 1)), (Ok(9), Err(full(&table))));
}

pub(crate) fn the_sweep_frees_expired_rows(store: &Store) {
    let table = expired(store);
    let freed: usize = (0..1000).map(|_| store.sweep()).sum();
    // Fewer if the machine was so slow that some expired before they were written.
    assert!(freed <= 8, "{freed}");
    assert_eq!(table.count(), Ok(1));
    assert_eq!(user(&table, "fresh"), is("", 1, 0.0));
}
