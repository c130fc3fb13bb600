//! Messages between workers.

use super::WORKERS;
use crate::{
    Store,
    store::{Received, Targets},
};

fn read(store: &Store, cursor: &mut u64) -> Option<(Targets, Vec<u8>)> {
    let mut message = b"what was there before".to_vec();
    match store.bus().receive(0, cursor, &mut message) {
        Received::Message(targets) => Some((targets, message)),
        Received::Nothing => None,
        Received::Lost => panic!("nobody was overtaken"),
    }
}

/// Sends so much that whoever has read nothing of it is overtaken.
fn overtake(store: &Store, cursor: u64) {
    let long = vec![b'x'; store.bus().longest() / 2];
    while store.bus().receive(0, &mut cursor.clone(), &mut Vec::new()) != Received::Lost {
        store.bus().send(0, Targets::one(1), &long);
    }
}

pub(crate) fn every_worker_has_a_ring_in_which_there_is_nothing(store: &Store) {
    assert_eq!(store.bus().workers(), WORKERS);
    assert!(store.bus().longest() >= 1000);
    for ring in 0..WORKERS {
        let mut cursor = store.bus().end(ring);
        assert_eq!(store.bus().receive(ring, &mut cursor, &mut Vec::new()), Received::Nothing);
    }
}

pub(crate) fn messages_of_every_length_come_in_their_order(store: &Store) {
    let mut cursor = store.bus().end(0);
    let all = Targets::all(WORKERS);
    for round in 0..40_usize {
        for len in [0, 1, 7, 8, 9, 1000 + round, store.bus().longest() - round] {
            let message: Vec<u8> = (0..len).map(|i| (i * 31 + round) as u8).collect();
            let targets = if len % 2 == 0 { all } else { Targets::one(1) };
            store.bus().send(0, targets, &message);
            assert!(read(store, &mut cursor) == Some((targets, message)), "{len} bytes in round {round}");
        }
        assert_eq!(read(store, &mut cursor), None);
    }
}

pub(crate) fn every_reader_has_a_place_of_its_own(store: &Store) {
    let bus = store.bus();
    let mut early = bus.end(0);
    let send = |text: &str| bus.send(0, Targets::NONE, text.as_bytes());
    let text = |text: &str| Some((Targets::NONE, text.as_bytes().to_vec()));
    send("first");
    let mut late = bus.end(0);
    bus.send(1, Targets::NONE, b"of another");
    send("second");
    assert_eq!((read(store, &mut late), read(store, &mut late)), (text("second"), None));
    assert_eq!((read(store, &mut early), read(store, &mut early)), (text("first"), text("second")));
    assert_eq!((early, read(store, &mut early)), (late, None));
}

pub(crate) fn who_is_overtaken_is_told_so_and_goes_on(store: &Store) {
    let mut cursor = store.bus().end(0);
    overtake(store, cursor);
    assert_eq!(store.bus().receive(0, &mut cursor, &mut Vec::new()), Received::Lost);
    assert_eq!((cursor, read(store, &mut cursor)), (store.bus().end(0), None));
    store.bus().send(0, Targets::one(1), b"next");
    assert_eq!(read(store, &mut cursor), Some((Targets::one(1), b"next".to_vec())));
}

pub(crate) fn who_reads_when_the_number_grows_is_never_overtaken(store: &Store) {
    let (mut cursor, mut last) = (store.bus().end(0), 0);
    let (mut sent, mut seen) = (0, 0);
    for round in 0..5000_usize {
        let message = vec![b'm'; round * 37 % (store.bus().longest() / 4)];
        let number = store.bus().send(0, Targets::NONE, &message);
        sent += 1;
        assert!(number >= last);
        if number > last {
            while read(store, &mut cursor).is_some() {
                seen += 1;
            }
            assert_eq!(seen, sent);
        }
        last = number;
    }
}

pub(crate) fn a_worker_is_woken_once_until_it_listens(store: &Store) {
    let bus = store.bus();
    let mut woken = 0;
    bus.listen(1);
    assert!(!bus.is_told(1));
    bus.tell(1, &mut || woken += 1);
    bus.tell(1, &mut || woken += 1);
    assert!(bus.is_told(1) && woken == 1);
    bus.listen(1);
    assert!(!bus.is_told(1));
    bus.tell(1, &mut || woken += 1);
    assert!(bus.is_told(1) && woken == 2);
}

pub(crate) fn patterns_have_a_version(store: &Store) {
    let before = store.bus().patterns_version();
    assert_eq!(store.bus().patterns_version(), before);
    store.bus().patterns_changed();
    assert!(store.bus().patterns_version() > before);
}

/// One writes as fast as it can, others read: whole messages in order, or the word that some are lost.
pub(crate) fn readers_see_whole_messages_in_order(store: &Store) {
    const LAST: u64 = 20_000;
    let reader = |mut cursor: u64| {
        let (mut seen, mut message) = (0, Vec::new());
        // Told when the last was sent.
        while !(store.bus().is_told(1) && cursor == store.bus().end(0)) {
            match store.bus().receive(0, &mut cursor, &mut message) {
                Received::Nothing => std::thread::yield_now(),
                Received::Lost => {}
                Received::Message(_) => {
                    let number = u64::from_ne_bytes(message[..8].try_into().unwrap());
                    assert!(number > seen, "{number} after {seen}");
                    assert!(message[8..].iter().all(|&byte| byte == number as u8), "message {number} is torn");
                    seen = number;
                }
            }
        }
    };
    store.bus().listen(1);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let cursor = store.bus().end(0);
            scope.spawn(move || reader(cursor));
        }
        for number in 1..=LAST {
            let body = vec![number as u8; (number % 300) as usize];
            store.bus().send(0, Targets::one(1), &[&number.to_ne_bytes()[..], &body].concat());
        }
        store.bus().tell(1, &mut || {});
    });
}
