//! Users over several workers: a change of rights holds everywhere, for RESP and for HTTP.

use std::{collections::BTreeMap, thread, time::Duration};

use crate::harness::{Http, Reply, Resp, Server, encode, wait_until};

const WORKERS: usize = 4;

fn server(args: &[&str]) -> Server {
    Server::start(&[&["--workers", "4"], args].concat())
}

/// Clients enough for each worker to have some, logged in as this user.
fn clients(server: &Server, count: usize, user: &str) -> Vec<Resp> {
    let client = |_| {
        let mut client = server.redis();
        assert_eq!(client.run(&format!("AUTH {user} secret")), Reply::ok());
        client
    };
    (0..count).map(client).collect()
}

/// A client of each worker.
fn one_to_each(server: &Server) -> Vec<Resp> {
    let mut found = BTreeMap::new();
    let complete = wait_until(Duration::from_secs(10), || {
        let mut client = server.redis();
        let info = client.run("CLIENT INFO").text();
        let worker = info.split_whitespace().find_map(|part| part.strip_prefix("worker=")).map(str::to_owned);
        found.entry(worker).or_insert(client);
        found.len() == WORKERS
    });
    assert!(complete, "only workers {:?} ever answered", found.keys());
    found.into_values().collect()
}

/// Clients of every worker who are logged in as `name`.
fn all_as(server: &Server, name: &str) -> Vec<Resp> {
    let mut clients = one_to_each(server);
    for client in &mut clients {
        assert_eq!(client.run(&format!("AUTH {name} x")), Reply::ok());
    }
    clients
}

fn is_refused(reply: &Reply) -> bool {
    reply.error() == Some("NOPERM")
}

/// A worker that heard of changed users before it had looked at the changed settings went on with the password of before.
#[test]
fn a_new_password_holds_at_every_worker_at_once() {
    let server = server(&[]);
    let mut admin = server.redis();
    for round in 0..20 {
        assert_eq!(admin.run(&format!("CONFIG SET requirepass secret{round}")), Reply::ok());
        for _ in 0..8 {
            let mut client = server.redis();
            assert_eq!(client.run("PING").error(), Some("NOAUTH"));
            assert_eq!(client.run(&format!("AUTH secret{round}")), Reply::ok());
        }
        assert_eq!(admin.cmd(&["CONFIG", "SET", "requirepass", ""]), Reply::ok());
        let pongs = (0..8).map(|_| server.redis().run("PING"));
        assert!(pongs.into_iter().all(|pong| pong == Reply::Status("PONG".to_owned())), "round {round}");
    }
}

#[test]
fn a_change_of_rights_holds_for_the_next_request_at_every_worker() {
    let server = server(&[]);
    let mut admin = server.redis();
    assert_eq!(admin.run("ACL SETUSER u on >secret ~k* +@all"), Reply::ok());
    let mut clients = clients(&server, 16, "u");
    for round in 0..20 {
        for client in &mut clients {
            assert_eq!(client.run(&format!("SET k {round}")), Reply::ok());
            assert!(is_refused(&client.run("GET z")));
        }
        assert_eq!(admin.run("ACL SETUSER u -set"), Reply::ok());
        for client in &mut clients {
            assert!(is_refused(&client.run("SET k v")));
            assert_eq!(client.run("GET k"), Reply::bulk(round.to_string()));
        }
        assert_eq!(admin.run("ACL SETUSER u +set"), Reply::ok());
    }
    let mut logged: Vec<String> =
        admin.run("ACL LOG 100").items().iter().map(|entry| entry.field("object").text()).collect();
    logged.sort();
    logged.dedup();
    assert_eq!(logged, ["set", "z"]);
}

#[test]
fn a_user_that_is_deleted_is_disconnected_from_every_worker() {
    let server = server(&[]);
    let mut admin = server.redis();
    assert_eq!(admin.run("ACL SETUSER u on >secret ~* &* +@all"), Reply::ok());
    let mut clients = clients(&server, 12, "u");
    clients.iter_mut().skip(6).for_each(|client| drop(client.run("SUBSCRIBE news")));
    assert_eq!(admin.run("ACL DELUSER u"), Reply::Int(1));
    for client in &mut clients {
        assert!(client.read().is_err(), "the connection is closed without a word");
    }
    let mut late = server.redis();
    assert_eq!(late.run("AUTH u secret").error(), Some("WRONGPASS"));
    assert_eq!(admin.run("PUBLISH news x"), Reply::Int(0));
    assert_eq!(admin.run("ACL WHOAMI"), Reply::bulk("default"));
}

#[test]
fn who_may_not_listen_any_more_is_disconnected_and_the_others_are_not() {
    let server = server(&[]);
    let mut admin = server.redis();
    assert_eq!(admin.run("ACL SETUSER u on >secret &news &weather* +@all"), Reply::ok());
    let mut clients = clients(&server, 8, "u");
    for (number, client) in clients.iter_mut().enumerate() {
        let topic = ["SUBSCRIBE news", "PSUBSCRIBE weather*"][number % 2];
        assert_eq!(client.run(topic).items()[2], Reply::Int(1));
    }
    assert_eq!(admin.run("ACL SETUSER u resetchannels &weather*"), Reply::ok());
    for (number, client) in clients.iter_mut().enumerate() {
        if number % 2 == 0 {
            assert!(client.read().is_err(), "the connection is closed without a word");
        } else {
            assert_eq!(client.run("PING").items()[0], Reply::bulk("pong"));
        }
    }
}

#[test]
fn one_that_deletes_its_own_user_is_answered_first() {
    let server = server(&[]);
    assert_eq!(server.redis().run("ACL SETUSER u on >secret +@all"), Reply::ok());
    let mut client = clients(&server, 1, "u").remove(0);
    assert_eq!(client.run("ACL DELUSER u"), Reply::Int(1));
    assert!(client.read_to_close().is_empty());
}

#[test]
fn http_asks_for_the_password_of_the_default_user_and_needs_all_its_rights() {
    let server = server(&["--requirepass", "first"]);
    let mut admin = server.redis();
    assert_eq!(admin.run("AUTH first"), Reply::ok());
    let status = |password: &str| {
        let header = format!("Bearer {password}");
        let mut web = Http::open(server.http()).unwrap();
        web.request("GET", "/stats", &[("authorization", &header)], None).status
    };
    assert_eq!((status("first"), status("second")), (200, 401));
    assert_eq!(admin.run("ACL SETUSER default >second"), Reply::ok());
    assert_eq!((status("first"), status("second")), (200, 200));
    assert_eq!(admin.run("ACL SETUSER default <first -debug"), Reply::ok());
    assert_eq!((status("first"), status("second")), (401, 403));
    assert_eq!(admin.run("ACL SETUSER default +@all off"), Reply::ok());
    assert_eq!(status("second"), 401);
    assert_eq!(admin.run("ACL SETUSER default on"), Reply::ok());
    for _ in 0..8 {
        assert_eq!(status("second"), 200);
    }
}

#[test]
fn a_worker_that_is_started_anew_knows_the_users() {
    let server = server(&[]);
    let mut admin = server.redis();
    assert_eq!(admin.run("ACL SETUSER u on >secret ~* +@all"), Reply::ok());
    drop(admin);
    let before = server.workers();
    before.iter().for_each(|&pid| crate::harness::signal(pid, nix::sys::signal::Signal::SIGKILL));
    let are_new = || {
        let now = server.workers();
        now.len() == 4 && !now.iter().any(|pid| before.contains(pid))
    };
    assert!(wait_until(Duration::from_secs(20), are_new), "workers are started again");
    for client in &mut clients(&server, 8, "u") {
        assert_eq!(client.run("ACL WHOAMI"), Reply::bulk("u"));
    }
}

#[test]
fn a_change_by_any_worker_holds_at_once_for_users_and_for_logins() {
    let server = server(&[]);
    let mut admins = one_to_each(&server);
    assert_eq!(admins[0].run("ACL SETUSER u on nopass ~k +@all"), Reply::ok());
    let mut users = all_as(&server, "u");
    let mut logins = one_to_each(&server);
    for round in 0..200 {
        let admin = &mut admins[round % WORKERS];
        let rules = if round % 2 == 0 { "-get" } else { "+get" };
        let change = format!("ACL SETUSER u resetpass >p{round} {rules}");
        assert_eq!(admin.run(&change), Reply::ok());
        for user in &mut users {
            let answer = user.run("GET k");
            assert_eq!(answer.error().is_some(), round % 2 == 0, "round {round}: {answer:?}");
        }
        for login in &mut logins {
            let old = round.wrapping_sub(1);
            assert_eq!(login.run(&format!("AUTH u p{old}")).error(), Some("WRONGPASS"), "round {round}");
            assert_eq!(login.run(&format!("AUTH u p{round}")), Reply::ok(), "round {round}");
        }
    }
}

#[test]
fn clients_of_a_deleted_user_are_disconnected_even_if_one_of_that_name_follows() {
    let server = server(&[]);
    let mut admin = server.redis();
    admin.run("ACL SETUSER u on nopass allkeys allchannels +@all");
    let mut users = all_as(&server, "u");
    // One of them listens, and sends nothing that could be refused.
    users[1].run("SUBSCRIBE news");
    let both = [encode(&["ACL", "DELUSER", "u"]), encode(&["ACL", "SETUSER", "u", "on", "nopass", "+@all", "&*"])];
    admin.send(&both.concat()).unwrap();
    assert_eq!((admin.read().unwrap(), admin.read().unwrap()), (Reply::Int(1), Reply::ok()));
    for user in &mut users {
        assert!(user.read_to_close().is_empty());
    }
    assert_eq!(server.redis().run("AUTH u x"), Reply::ok());
}

#[test]
fn changes_of_one_user_by_many_workers_at_once_are_all_kept() {
    const EACH: usize = 25;
    let server = server(&[]);
    let changing: Vec<_> = one_to_each(&server)
        .into_iter()
        .enumerate()
        .map(|(number, mut admin)| {
            thread::spawn(move || {
                for step in 0..EACH {
                    assert_eq!(admin.run(&format!("ACL SETUSER u ~{number}:{step}")), Reply::ok());
                }
            })
        })
        .collect();
    changing.into_iter().for_each(|thread| thread.join().unwrap());
    let keys = server.redis().run("ACL GETUSER u").field("keys").text();
    assert_eq!(keys.split(' ').count(), WORKERS * EACH, "{keys}");
}

#[test]
fn refusals_of_all_workers_are_in_one_log() {
    let server = server(&[]);
    let mut admin = server.redis();
    admin.run("ACL SETUSER u on nopass ~k +get");
    for user in &mut all_as(&server, "u") {
        assert_eq!(user.run("GET other"), Reply::Error("NOPERM No permissions to access a key".to_owned()));
    }
    let log = admin.run("ACL LOG");
    let [entry] = log.items() else { panic!("{log:?}") };
    assert_eq!((entry.field("count"), entry.field("object").text()), (Reply::Int(WORKERS as i64), "other".to_owned()));
    let stats = admin.run("INFO stats").text();
    assert!(stats.contains(&format!("acl_access_denied_key:{WORKERS}\r\n")), "{stats}");
    assert_eq!(admin.run("ACL LOG RESET"), Reply::ok());
    assert_eq!(one_to_each(&server)[2].run("ACL LOG"), Reply::Array(Vec::new()));
}
