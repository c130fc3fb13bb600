//! Commands about replicas and files, of which there are none here, and one about art.

use crate::command::{
    Reply,
    call::Call,
    parse_int,
    refusal::{Answer, NOT_AN_INTEGER, Refusal, refuse},
    server::REDIS_VERSION,
    table::{Command, READ_FAST},
};

pub(crate) const COMMANDS: &[Command] = &[
    Command::new("wait", 3, wait)
        .group("connection")
        .flags(&["noscript"])
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .docs("3.0.0", "numreplicas timeout", "Returns how many replicas have the client's writes: none, and at once."),
    Command::new("waitaof", 4, waitaof)
        .group("connection")
        .flags(&["noscript"])
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .docs(
            "7.2.0",
            "numlocal numreplicas timeout",
            "Returns on how many files and replicas the client's writes are: none, and at once.",
        ),
    Command::new("lolwut", -1, lolwut).group("server").flags(READ_FAST).docs(
        "5.0.0",
        "[VERSION version]",
        "Draws something.",
    ),
];

fn wait(call: &mut Call<'_, '_>) -> Answer {
    call.int(1)?;
    timeout(call, 2)?;
    Ok(Reply::Int(0))
}

fn waitaof(call: &mut Call<'_, '_>) -> Answer {
    match call.int(1)? {
        0 => {}
        1 => return refuse("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."),
        _ => return refuse("ERR value is out of range, value must between 0 and 1"),
    }
    if call.int(2)? < 0 {
        return refuse("ERR value is out of range, must be positive");
    }
    timeout(call, 3)?;
    Ok(Reply::Array(vec![Reply::Int(0), Reply::Int(0)]))
}

fn timeout(call: &Call<'_, '_>, index: usize) -> Answer<()> {
    let timeout = parse_int(call.arg(index)).ok_or(Refusal::from("ERR timeout is not an integer or out of range"))?;
    if timeout < 0 { refuse("ERR timeout is negative") } else { Ok(()) }
}

/// A segment's life, drawn: each digit a worker's row, the gap the one that died.
const DRAWING: &str = "\
  .--------------------.
  | 1111 2222 3333 .... |
  | 1111 2222 3333 4444 |
  '--------------------'
";

fn lolwut(call: &mut Call<'_, '_>) -> Answer {
    if call.args.len() >= 3 && call.args.is(1, "VERSION") && parse_int(call.arg(2)).is_none() {
        return refuse(NOT_AN_INTEGER);
    }
    let version = env!("CARGO_PKG_VERSION");
    Ok(Reply::Verbatim(format!("{DRAWING}\nRedis ver. {REDIS_VERSION}, store-master {version}\n")))
}

#[cfg(test)]
mod tests {
    use crate::command::testing::{Server, check};

    #[test]
    fn nothing_is_waited_for() {
        check(
            &Server::new(),
            &[
                ("WAIT 0 0", ":0"),
                ("WAIT 3 1000", ":0"),
                ("WAIT 1 -1", "-ERR timeout is negative"),
                ("WAIT 1 x", "-ERR timeout is not an integer or out of range"),
                ("WAITAOF 0 0 0", "*2 :0 :0"),
            ],
        );
    }
}
