//! Any worker answers for all: what one writes, every other reads, and connections reach them evenly.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::Duration,
};

use serde_json::json;

use crate::harness::{Http, Reply, Resp, Server, wait_until};

/// One HTTP connection to each worker, by worker index.
fn one_to_each(server: &Server, workers: usize) -> BTreeMap<usize, Http> {
    let mut found = BTreeMap::new();
    let complete = wait_until(Duration::from_secs(10), || {
        let mut web = server.web();
        let (index, _) = web.get("/healthz").worker();
        found.entry(index).or_insert(web);
        found.len() == workers
    });
    assert!(complete, "only workers {:?} ever answered", found.keys());
    found
}

#[test]
fn ten_thousand_increments_through_eight_workers() {
    const CONNECTIONS: usize = 20;
    const EACH: usize = 500;
    let server = Server::start(&["--workers", "8", "--table", "hits:16:n=int,name=string(8)"]);
    let (http, resp) = (server.http(), server.resp());
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|i| thread::spawn(move || if i % 2 == 0 { over_http(http, EACH) } else { over_resp(resp, EACH) }))
        .collect();
    let answered: BTreeSet<usize> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    assert!(answered.len() >= 2, "only {answered:?} answered");
    let total = (CONNECTIONS * EACH) as i64;
    let mut redis = server.redis();
    assert_eq!(redis.run("COUNTER.GET total"), Reply::Int(total));
    assert_eq!(redis.run("TABLE.GET hits page n"), Reply::Array(vec![Reply::Int(total)]));
    assert_eq!(redis.run("GET total"), Reply::bulk(total.to_string()));
    for web in one_to_each(&server, 8).values_mut() {
        assert_eq!(web.get("/counters/total").json(), json!({"value": total}));
        assert_eq!(web.get("/tables/hits/rows/page?field=n").json(), json!({"n": total}));
    }
}

fn over_http(addr: std::net::SocketAddr, times: usize) -> BTreeSet<usize> {
    let mut web = Http::open(addr).unwrap();
    let mut answered = BTreeSet::new();
    for _ in 0..times {
        let one = web.call("POST", "/counters/total/incr");
        let two = web.post("/tables/hits/rows/page/incr", &json!({"column": "n"}));
        let three = web.call("POST", "/kv/total/incr");
        assert_eq!((one.status, two.status, three.status), (200, 200, 200));
        answered.insert(one.worker().0);
    }
    answered
}

fn over_resp(addr: std::net::SocketAddr, times: usize) -> BTreeSet<usize> {
    let mut redis = Resp::open(addr).unwrap();
    for _ in 0..times {
        redis.run("COUNTER.INCR total").int();
        redis.run("TABLE.INCR hits page n").int();
        redis.run("INCR total").int();
    }
    BTreeSet::new()
}

#[test]
fn tables_made_at_run_time_are_seen_by_all_at_once() {
    let server = Server::start(&["--workers", "8"]);
    let mut all = one_to_each(&server, 8);
    for maker in 0..8 {
        let name = format!("made_by_{maker}");
        let spec = json!({"name": name, "rows": 4, "columns": [{"name": "n", "type": "int"}]});
        assert_eq!(all.get_mut(&maker).unwrap().post("/tables", &spec).status, 201);
        for (index, web) in &mut all {
            let row = format!("/tables/{name}/rows/row");
            let answer = web.post(&format!("{row}/incr"), &json!({"column": "n"}));
            assert_eq!(answer.json()["value"], *index as i64 + 1, "worker {index} of table {name}");
        }
    }
    // Dropped through one, gone for all; made anew with another schema, new for all.
    assert_eq!(all.get_mut(&3).unwrap().call("DELETE", "/tables/made_by_0").status, 204);
    assert!(all.values_mut().all(|web| web.get("/tables/made_by_0/rows/row").status == 404));
    let spec = json!({"name": "made_by_0", "rows": 2, "columns": [{"name": "s", "type": "string", "size": 3}]});
    assert_eq!(all.get_mut(&5).unwrap().post("/tables", &spec).status, 201);
    for web in all.values_mut() {
        assert_eq!(web.put("/tables/made_by_0/rows/row", &json!({"s": "abc"})).status, 204);
        assert_eq!(web.put("/tables/made_by_0/rows/row", &json!({"n": 1})).error().1, "unknown_column");
    }
}

#[test]
fn what_one_worker_writes_the_others_read() {
    let server = Server::start(&["--workers", "4"]);
    let mut all = one_to_each(&server, 4);
    for writer in 0..4 {
        let (kv, counter) = (format!("/kv/from{writer}"), format!("/counters/from{writer}"));
        let value = vec![b'a' + writer as u8; 10_000];
        let web = all.get_mut(&writer).unwrap();
        assert_eq!(web.request("PUT", &kv, &[], Some(&value)).status, 204);
        assert_eq!(web.post(&format!("{counter}/incr"), &json!({"by": 7})).status, 200);
        for web in all.values_mut() {
            assert_eq!(web.get(&kv).body, value);
            assert_eq!(web.get(&counter).json(), json!({"value": 7}));
        }
    }
}

#[test]
fn connections_are_spread_evenly() {
    const CONNECTIONS: usize = 64;
    let server = Server::start(&["--workers", "8"]);
    // The last worker to start may not serve yet when the first ones do.
    one_to_each(&server, 8);
    let mut spread: BTreeMap<i32, usize> = server.workers().into_iter().map(|pid| (pid, 0)).collect();
    assert_eq!(spread.len(), 8);
    let mut redis: Vec<Resp> = (0..CONNECTIONS).map(|_| server.redis()).collect();
    for one in &mut redis {
        assert_eq!(one.run("PING"), Reply::Status("PONG".to_owned()));
    }
    for owner in server.owners(redis.iter().map(Resp::stream)) {
        *spread.get_mut(&owner.unwrap()).unwrap() += 1;
    }
    assert!(spread.values().all(|&n| n > 0), "a worker has no connection: {spread:?}");
    let most = spread.values().max().unwrap();
    assert!(*most <= CONNECTIONS / 2, "one worker has half of all connections: {spread:?}");
}

#[test]
fn counting_agrees_over_all_workers() {
    let server = Server::start(&["--workers", "4"]);
    let mut all = one_to_each(&server, 4);
    let before = server.stat("commands");
    let mut redis: Vec<Resp> = (0..16).map(|_| server.redis()).collect();
    for one in &mut redis {
        (0..25).for_each(|_| drop(one.run("PING")));
    }
    for web in all.values_mut() {
        let stats = web.get("/stats").json();
        assert!(stats["total"]["commands"].as_u64().unwrap() >= before + 400, "{stats}");
        let each = stats["workers"].as_array().unwrap();
        let sum: u64 = each.iter().map(|worker| worker["commands"].as_u64().unwrap()).sum();
        assert_eq!(sum, stats["total"]["commands"].as_u64().unwrap());
        assert!(each.iter().all(|worker| worker["worker_starts"] == 1), "each worker started once: {stats}");
    }
}
