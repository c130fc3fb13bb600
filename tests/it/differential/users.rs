//! Rules of users, as a real `redis-server` understands and shows them.

use super::peer::Redis;
use crate::harness::{Reply, Resp, Server};

/// What is sent to both; the replies, and then what user `u` is and may do, must be the same.
const RULES: &[&str] = &[
    "on >x ~foo* %R~r* %W~w* %RW~b %r~w* &c +@read -get +config|get (~z +set) +select|0",
    "reset +@all -@hash -@slow +hget",
    "-@hash",
    "+@hash",
    "-@all",
    "-@string -@slow +@all",
    "-@all +@HASH +@hash +@HaSh +HGET -hget",
    "-@all +client|list +client|list +config|get +config",
    "allkeys allchannels",
    "resetkeys resetchannels ~a ~a &b &b",
    "clearselectors (+get ~a",
    "(+get ~a) (%R~b &x) () (allkeys allchannels allcommands)",
    "nopass on",
    "resetpass off",
    "#2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
    "!2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
    "<x",
    "#abc",
    "!ABC",
    "+nothing",
    "-nothing",
    "+@nothing",
    "nothing",
    "+config|nothing",
    "-config|nothing",
    "+config|get|x",
    "+get|a|b",
    "-select|0",
    "+get|",
    "+",
    "-",
    "@read",
    "%~a",
    "%X~a",
    "%RR~a",
    "(on)",
    "(>x)",
    "(+get ))",
    "allkeys ~a",
    "&* &a",
    "~* +@all -flushall -config|set +acl|whoami",
    "reset",
];

/// Requests whose replies must be the same.
const REQUESTS: &[&str] = &[
    "ACL SETUSER d on nopass +@read +publish +config ~k* %R~r (~z +set)",
    "ACL DRYRUN d get k",
    "ACL DRYRUN d get r",
    "ACL DRYRUN d set z v",
    "ACL DRYRUN d config get x",
    "ACL DRYRUN d get",
    "ACL DRYRUN d nothing",
    "ACL DRYRUN nobody get k",
    "ACL GETUSER nobody",
    "ACL SETUSER",
    "ACL DELUSER default",
    "ACL DELUSER nobody",
    "ACL DELUSER nobody d d",
    "ACL CAT nothing",
    "ACL GENPASS 0",
    "ACL GENPASS 4097",
    "ACL GENPASS x",
    "ACL LOG x",
    "ACL LOAD",
    "ACL SAVE",
    "ACL WHOAMI x",
    "ACL NOTHING",
    "AUTH x",
    "AUTH default x",
    "AUTH nobody x",
    "AUTH a b c",
    "HELLO 2 AUTH nobody x",
    "ACL WHOAMI",
];

/// Requests of which ACL DRYRUN is asked.
const PROBES: &[&str] = &[
    "get foo1",
    "get r1",
    "get b",
    "set foo1 v",
    "set r1 v",
    "set z v",
    "set a v get",
    "mget foo1 b",
    "mget foo1 q",
    "strlen q",
    "hget foo1 f",
    "hset a f v",
    "del a",
    "keys x",
    "scan 0",
    "flushall",
    "config get x",
    "config set x y",
    "config resetstat",
    "client id",
    "client list",
    "client kill a",
    "acl whoami",
    "acl list",
    "select 0",
    "select 1",
    "publish b x",
    "publish c x",
    "subscribe a b",
    "psubscribe b",
    "watch a",
    "watch foo1",
    "multi",
    "info",
    "ping",
    "auth x",
    "hello",
    "copy foo1 a",
    "copy a b",
];

/// What ACL GETUSER says, but for flags and commands, which later versions than the one that this is compared with show in another way.
fn described(client: &mut Resp) -> Vec<Reply> {
    let user = client.run("ACL GETUSER u");
    if user == Reply::Null {
        return Vec::new();
    }
    let selectors = user.field("selectors");
    let more = selectors.items().iter().flat_map(|selector| ["keys", "channels"].map(|name| selector.field(name)));
    ["passwords", "keys", "channels"].map(|name| user.field(name)).into_iter().chain(more).collect()
}

/// Which of the probes the user may send.
fn allowed(client: &mut Resp) -> Vec<&'static str> {
    let mut is_allowed = |probe: &str| client.run(&format!("ACL DRYRUN u {probe}")) == Reply::ok();
    PROBES.iter().filter(|probe| is_allowed(probe)).copied().collect()
}

#[test]
fn rules_are_understood_and_shown_alike() {
    let (server, redis) = (Server::start(&["--workers", "1"]), Redis::start());
    let (mut ours, mut theirs) = (server.redis(), Resp::open(redis.addr).unwrap());
    for rules in RULES {
        let request = format!("ACL SETUSER u {rules}");
        assert_eq!(ours.run(&request), theirs.run(&request), "{rules}");
        assert_eq!(described(&mut ours), described(&mut theirs), "after {rules}");
        assert_eq!(allowed(&mut ours), allowed(&mut theirs), "after {rules}");
    }
    for request in REQUESTS {
        assert_eq!(ours.run(request), theirs.run(request), "{request}");
    }
}
