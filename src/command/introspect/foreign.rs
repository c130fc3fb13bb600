//! Commands of Redis that this server does not have, of which COMMAND GETKEYS knows the keys all the same: proxies and libraries ask
//! where the keys are before they send a request, wherever they send it then. Nothing else knows of these commands.

use crate::command::{
    Args,
    keyspec::{KeySpec, OW_UPDATE, RO, RO_ACCESS, RW_ACCESS_DELETE, RW_ACCESS_UPDATE, RW_DELETE, RW_INSERT, RW_UPDATE},
};

/// Names, with the arity of each, and where the keys of all of them are.
type Row = (&'static [(&'static str, i64)], &'static [KeySpec]);

static ROWS: &[Row] = &[
    (
        &[
            ("geodist", -4),
            ("geohash", -2),
            ("geopos", -2),
            ("georadius_ro", -6),
            ("georadiusbymember_ro", -5),
            ("geosearch", -7),
            ("lindex", 3),
            ("lpos", -3),
            ("lrange", 4),
            ("smembers", 2),
            ("smismember", -3),
            ("srandmember", -2),
            ("sscan", -3),
            ("xpending", -3),
            ("xrange", -4),
            ("xrevrange", -4),
            ("zcount", 4),
            ("zlexcount", 4),
            ("zmscore", -3),
            ("zrandmember", -2),
            ("zrange", -4),
            ("zrangebylex", -4),
            ("zrangebyscore", -4),
            ("zrank", 3),
            ("zrevrange", -4),
            ("zrevrangebylex", -4),
            ("zrevrangebyscore", -4),
            ("zrevrank", 3),
            ("zscan", -3),
            ("zscore", 3),
        ],
        &[KeySpec::one(1, RO_ACCESS)],
    ),
    (
        &[
            ("lrem", 4),
            ("ltrim", 4),
            ("srem", -3),
            ("xautoclaim", -6),
            ("xdel", -3),
            ("xtrim", -4),
            ("zrem", -3),
            ("zremrangebylex", 4),
            ("zremrangebyrank", 4),
            ("zremrangebyscore", 4),
        ],
        &[KeySpec::one(1, RW_DELETE)],
    ),
    (
        &[("geoadd", -5), ("lset", 4), ("xack", -4), ("xadd", -5), ("xclaim", -6), ("xsetid", -3), ("zadd", -4)],
        &[KeySpec::one(1, RW_UPDATE)],
    ),
    (
        &[("linsert", 5), ("lpush", -3), ("lpushx", -3), ("pfadd", -2), ("rpush", -3), ("rpushx", -3), ("sadd", -3)],
        &[KeySpec::one(1, RW_INSERT)],
    ),
    (
        &[("blmove", 6), ("brpoplpush", 4), ("lmove", 5), ("rpoplpush", 3), ("smove", 4)],
        &[KeySpec::one(1, RW_ACCESS_DELETE), KeySpec::one(2, RW_INSERT)],
    ),
    (&[("llen", 2), ("scard", 2), ("sismember", 3), ("xlen", 2), ("zcard", 2)], &[KeySpec::one(1, RO)]),
    (
        &[("lpop", -2), ("rpop", -2), ("spop", -2), ("zpopmax", -2), ("zpopmin", -2)],
        &[KeySpec::one(1, RW_ACCESS_DELETE)],
    ),
    (
        &[("sintercard", -3), ("zdiff", -3), ("zinter", -3), ("zintercard", -3), ("zunion", -3)],
        &[KeySpec::counted(1, 1, RO_ACCESS)],
    ),
    (
        &[("blpop", -3), ("brpop", -3), ("bzpopmax", -3), ("bzpopmin", -3)],
        &[KeySpec::of_range((1, -2, 1), RW_ACCESS_DELETE)],
    ),
    (&[("eval", -3), ("evalsha", -3), ("fcall", -3)], &[KeySpec::counted(2, 1, RW_ACCESS_UPDATE)]),
    (&[("eval_ro", -3), ("evalsha_ro", -3), ("fcall_ro", -3)], &[KeySpec::counted(2, 1, RO_ACCESS)]),
    (&[("sdiff", -2), ("sinter", -2), ("sunion", -2)], &[KeySpec::rest(1, RO_ACCESS)]),
    (
        &[("zdiffstore", -4), ("zinterstore", -4), ("zunionstore", -4)],
        &[KeySpec::one(1, OW_UPDATE), KeySpec::counted(2, 1, RO_ACCESS)],
    ),
    (&[("blmpop", -5), ("bzmpop", -5)], &[KeySpec::counted(2, 1, RW_ACCESS_DELETE)]),
    (&[("geosearchstore", -8), ("zrangestore", -5)], &[KeySpec::one(1, OW_UPDATE), KeySpec::one(2, RO_ACCESS)]),
    (&[("lmpop", -4), ("zmpop", -4)], &[KeySpec::counted(1, 1, RW_ACCESS_DELETE)]),
    (&[("sdiffstore", -3), ("sunionstore", -3)], &[KeySpec::one(1, OW_UPDATE), KeySpec::rest(2, RO_ACCESS)]),
    (&[("restore-asking", -4)], &[KeySpec::one(1, OW_UPDATE)]),
    (&[("sinterstore", -3)], &[KeySpec::one(1, RW_UPDATE), KeySpec::rest(2, RO_ACCESS)]),
    (&[("zincrby", 4)], &[KeySpec::one(1, RW_ACCESS_UPDATE)]),
];

/// Where the keys of a request are, if it is of such a command; and whether it has as many arguments as that needs.
pub(crate) fn keys(request: &Args<'_>) -> Option<(&'static [KeySpec], bool)> {
    let name = request.get(0);
    ROWS.iter().find_map(|(commands, specs)| {
        let (_, arity) = commands.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name))?;
        let args = request.len() as i64;
        Some((*specs, if *arity < 0 { args >= -arity } else { args == *arity }))
    })
}

/// Whether a request may be without keys, and is then not wrong.
pub(crate) fn needs_no_keys(request: &Args<'_>) -> bool {
    ["eval", "eval_ro", "evalsha", "evalsha_ro", "fcall", "fcall_ro"].iter().any(|name| request.is(0, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table;

    #[test]
    fn no_command_is_both_here_and_there() {
        for (name, _) in ROWS.iter().flat_map(|(commands, _)| commands.iter()) {
            assert!(table::lookup(name.as_bytes()).is_none(), "{name}");
        }
    }
}
