//! Making, finding, listing and dropping tables.

use super::common::{FAR, fill, is, key, score, user, user_columns, users, users_of};
use crate::{
    Column, Error, Store, row,
    store::{
        Condition, Expiry, Made, TableSpec, ValueRef,
        limits::{MAX_KEY_BYTES, MAX_ROW_BYTES, MAX_ROWS, MAX_SYSTEM_TABLES, MAX_TABLES},
    },
};

fn spec() -> TableSpec {
    TableSpec { rows: 8, key_bytes: 64, columns: user_columns().to_vec() }
}

fn names(store: &Store) -> Vec<String> {
    store.tables().unwrap().iter().map(|info| info.schema.table().to_owned()).collect()
}

pub(crate) fn make_says_whether_the_table_is_new(store: &Store) {
    assert_eq!(store.make_spec("t", spec()).unwrap().1, Made::New);
    assert_eq!(store.make_spec("t", spec()).unwrap().1, Made::Same);
    assert_eq!(names(store), ["t"]);
}

pub(crate) fn make_again_finds_the_rows(store: &Store) {
    users(store).set("a", &row! { score: 1 }).unwrap();
    assert_eq!(user(&users(store), "a"), is("", 1, 0.0));
    assert_eq!(user(&store.table("users").unwrap(), "a"), is("", 1, 0.0));
}

pub(crate) fn make_with_another_schema_is_refused(store: &Store) {
    store.make_spec("t", spec()).unwrap();
    let [name, score, ratio] = user_columns();
    let others = [
        TableSpec { rows: 9, ..spec() },
        TableSpec { key_bytes: 65, ..spec() },
        TableSpec { columns: vec![score.clone(), name.clone(), ratio.clone()], ..spec() },
        TableSpec { columns: vec![name.clone(), score.clone()], ..spec() },
        TableSpec { columns: vec![Column::string("name", 17), score.clone(), ratio.clone()], ..spec() },
        TableSpec { columns: vec![name.clone(), Column::float("score"), ratio.clone()], ..spec() },
        TableSpec { columns: vec![name, Column::int("Score"), ratio], ..spec() },
    ];
    for other in others {
        assert_eq!(store.make_spec("t", other).err(), Some(Error::TableExists("t".to_owned())));
    }
    assert_eq!(store.table("t").unwrap().schema().spec(), &spec());
}

pub(crate) fn make_refuses_what_breaks_the_rules(store: &Store) {
    let long = "x".repeat(65);
    for name in ["", "a b", "a/b", "~a", "é", "a\0", &long] {
        assert!(matches!(store.make_spec(name, spec()).err(), Some(Error::Invalid(_))), "{name:?}");
    }
    let many = (0..257).map(|i| Column::int(&format!("c{i}"))).collect();
    let specs = [
        TableSpec { rows: 0, ..spec() },
        TableSpec { rows: MAX_ROWS + 1, ..spec() },
        TableSpec { key_bytes: 0, ..spec() },
        TableSpec { key_bytes: MAX_KEY_BYTES as u16 + 1, ..spec() },
        TableSpec { columns: vec![], ..spec() },
        TableSpec { columns: many, ..spec() },
        TableSpec { columns: vec![Column::int("a"), Column::float("a")], ..spec() },
        TableSpec { columns: vec![Column::string("a", 0)], ..spec() },
        TableSpec { columns: vec![Column::int("")], ..spec() },
        TableSpec { columns: vec![Column::int("a b")], ..spec() },
        TableSpec { columns: vec![Column::int(&long)], ..spec() },
        TableSpec { columns: vec![Column::string("a", u16::MAX)], ..spec() },
    ];
    for spec in specs {
        assert!(matches!(store.make_spec("t", spec.clone()).err(), Some(Error::Invalid(_))), "{spec:?}");
    }
    assert_eq!(names(store), [""; 0]);
}

pub(crate) fn the_longest_names_are_allowed(store: &Store) {
    let name = "Az09_.-".repeat(10)[..64].to_owned();
    let table = store.make(&name, 2, &[Column::int(&name)]).unwrap();
    assert_eq!(table.incr("a", &name, 5), Ok(5));
    assert_eq!(names(store), [name]);
}

pub(crate) fn the_largest_row_is_allowed(store: &Store) {
    let size = MAX_ROW_BYTES - MAX_KEY_BYTES - 2;
    let columns = vec![Column::string("s", size as u16)];
    let (table, _) = store.make_spec("t", TableSpec { rows: 2, key_bytes: MAX_KEY_BYTES as u16, columns }).unwrap();
    let (long_key, long_value) = (vec![7; MAX_KEY_BYTES], vec![9; size]);
    table.set(&long_key, &[("s", long_value.clone().into())]).unwrap();
    assert_eq!(table.get(&long_key).unwrap().unwrap().get(0), ValueRef::Bytes(&long_value));
}

pub(crate) fn the_most_columns_are_allowed(store: &Store) {
    let columns: Vec<_> = (0..256).map(|i| Column::int(&format!("c{i}"))).collect();
    let table = store.make("t", 2, &columns).unwrap();
    for i in 0..256 {
        table.incr("a", &format!("c{i}"), i).unwrap();
    }
    let row = table.get("a").unwrap().unwrap();
    assert!((0..256).all(|i| row.get(i) == ValueRef::Int(i as i64)));
}

pub(crate) fn a_table_that_is_too_large_is_refused(store: &Store) {
    let spec = TableSpec { rows: MAX_ROWS, ..spec() };
    assert_eq!(store.make_spec("t", spec).err(), Some(Error::OutOfMemory));
    assert_eq!(names(store), [""; 0]);
    store.make_spec("t", self::spec()).unwrap();
}

pub(crate) fn tables_are_listed_by_name(store: &Store) {
    for name in ["b", "a", "B", "a1"] {
        store.make_spec(name, spec()).unwrap();
    }
    assert_eq!(names(store), ["B", "a", "a1", "b"]);
}

pub(crate) fn a_missing_table_is_not_found(store: &Store) {
    assert_eq!(store.table("t").err(), Some(Error::TableNotFound("t".to_owned())));
    assert_eq!(store.table("").err(), Some(Error::TableNotFound(String::new())));
    assert_eq!(store.drop_table("t"), Ok(false));
}

pub(crate) fn info_tells_schema_count_and_bytes(store: &Store) {
    let table = users(store);
    fill(&table, 3);
    let info = table.info().unwrap();
    assert_eq!((info.schema.table(), info.schema.spec(), info.count), ("users", &spec(), 3));
    assert!(info.bytes >= 8 * (64 + 16 + 16));
    assert_eq!(store.tables().unwrap(), [info]);
}

pub(crate) fn memory_in_use_stays_within_the_store(store: &Store) {
    let (capacity, before) = store.memory();
    fill(&users_of(store, 1000), 1000);
    let (same, after) = store.memory();
    assert_eq!(capacity, same);
    assert!(before < after && after <= capacity, "{before} {after} {capacity}");
}

pub(crate) fn hidden_tables_are_kept_from_clients(store: &Store) {
    let hidden = store.hidden("~own", spec()).unwrap();
    hidden.set("a", &row! { score: 1 }).unwrap();
    assert_eq!(names(store), [""; 0]);
    assert_eq!(store.table("~own").err(), Some(Error::TableNotFound("~own".to_owned())));
    assert_eq!(store.drop_table("~own"), Ok(false));
    assert_eq!(user(&store.hidden("~own", spec()).unwrap(), "a"), is("", 1, 0.0));
    for name in ["own", "~", "", "~~own", "~a b"] {
        assert!(matches!(store.hidden(name, spec()).err(), Some(Error::Invalid(_))), "{name:?}");
    }
}

pub(crate) fn exactly_so_many_tables_fit(store: &Store) {
    let small = || TableSpec { rows: 1, key_bytes: 8, columns: vec![Column::int("n")] };
    for i in 0..MAX_TABLES {
        store.make_spec(&format!("t{i}"), small()).unwrap();
    }
    assert_eq!(store.make_spec("more", small()).err(), Some(Error::TablesFull));
    assert_eq!(store.make_spec("t7", small()).unwrap().1, Made::Same);
    assert_eq!(store.tables().unwrap().len(), MAX_TABLES);
    for i in 0..MAX_SYSTEM_TABLES {
        store.hidden(&format!("~h{i}"), small()).unwrap();
    }
    assert_eq!(store.drop_table("t500"), Ok(true));
    store.make_spec("more", small()).unwrap().0.incr("a", "n", 1).unwrap();
    assert_eq!(store.make_spec("again", small()).err(), Some(Error::TablesFull));
}

pub(crate) fn handles_of_a_dropped_table_are_turned_away(store: &Store) {
    let table = users(store);
    table.set("a", &row! { score: 1 }).unwrap();
    assert_eq!(store.drop_table("users"), Ok(true));
    assert_eq!(store.drop_table("users"), Ok(false));
    assert_eq!(names(store), [""; 0]);

    let gone = Error::TableNotFound("users".to_owned());
    assert_eq!(store.table("users").err(), Some(gone.clone()));
    assert_eq!(table.get("a"), Err(gone.clone()));
    assert_eq!(table.mget(&[b"a"]), Err(gone.clone()));
    assert_eq!(table.set("a", &row! { score: 1 }), Err(gone.clone()));
    assert_eq!(table.mset(&[(b"a", vec![score(1)])]), Err(gone.clone()));
    assert_eq!(table.incr("a", "score", 1), Err(gone.clone()));
    assert_eq!(table.cas(b"a", &[], &[score(1)]), Err(gone.clone()));
    assert_eq!(table.delete("a"), Err(gone.clone()));
    assert_eq!(table.getdel("a"), Err(gone.clone()));
    assert_eq!(table.ttl(b"a"), Err(gone.clone()));
    assert_eq!(table.expire(b"a", FAR), Err(gone.clone()));
    assert_eq!(table.count(), Err(gone.clone()));
    assert_eq!(table.scan(0, 10), Err(gone.clone()));
    assert_eq!(table.clear(), Err(gone.clone()));
    assert_eq!(table.info(), Err(gone));
    assert_eq!(table.schema().spec(), &spec());
}

pub(crate) fn a_table_made_again_is_empty_and_another(store: &Store) {
    let old = users(store);
    fill(&old, 8);
    store.drop_table("users").unwrap();
    let new = users(store);
    assert_eq!(new.count(), Ok(0));
    assert_eq!(user(&new, key(0)), None);
    assert_eq!(old.set("a", &row! { score: 1 }), Err(Error::TableNotFound("users".to_owned())));
    fill(&new, 8);
    assert_eq!(old.delete(key(0)), Err(Error::TableNotFound("users".to_owned())));
    assert_eq!(new.count(), Ok(8));
}

pub(crate) fn a_table_can_be_made_again_with_another_schema(store: &Store) {
    fill(&users(store), 8);
    store.drop_table("users").unwrap();
    let table = store.make("users", 3, &[Column::float("x")]).unwrap();
    assert_eq!(table.add_cell(b"a", 0, ValueRef::Float(0.5)).unwrap().as_ref(), ValueRef::Float(0.5));
    assert_eq!(table.info().unwrap().count, 1);
}

pub(crate) fn dropped_tables_give_their_memory_back(store: &Store) {
    // Together ten times what the store has.
    let rows = super::MEMORY_BYTES / 4 / (64 + 40 + 32);
    for _ in 0..40 {
        let table = users_of(store, rows);
        table.set("a", &row! { name: "x" }).unwrap();
        assert_eq!(table.count(), Ok(1));
        assert_eq!(store.drop_table("users"), Ok(true));
    }
}

pub(crate) fn tables_do_not_touch_each_other(store: &Store) {
    let (a, b) = (users(store), store.make("b", 8, &user_columns()).unwrap());
    fill(&a, 8);
    b.set(key(0), &row! { name: "b" }).unwrap();
    assert_eq!((user(&a, key(0)), user(&b, key(0))), (is("", 0, 0.0), is("b", 0, 0.0)));
    a.clear().unwrap();
    assert_eq!((a.count(), b.count()), (Ok(0), Ok(1)));
    store.drop_table("users").unwrap();
    assert_eq!(user(&b, key(0)), is("b", 0, 0.0));
}

pub(crate) fn clear_deletes_every_row(store: &Store) {
    let table = users(store);
    table.clear().unwrap();
    fill(&table, 8);
    table.clear().unwrap();
    assert_eq!((table.count(), table.scan(0, 100).unwrap().rows.len()), (Ok(0), 0));
    assert_eq!(user(&table, key(3)), None);
    fill(&table, 8);
    assert!(matches!(table.set("more", &row! { score: 1 }), Err(Error::TableFull { .. })));
}

pub(crate) fn a_clone_of_a_handle_is_the_same_table(store: &Store) {
    let (one, other) = (users(store), store.clone());
    one.clone().set("a", &row! { score: 4 }).unwrap();
    assert_eq!(user(&other.table("users").unwrap(), "a"), is("", 4, 0.0));
    assert_eq!(one.write(b"a", &[], Expiry::Keep, Condition::IfAbsent), Ok(false));
}
