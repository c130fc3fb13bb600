//! CLIENT TRACKING and its kin.

use super::mode::Mode;
use crate::command::{
    Reply,
    call::Call,
    parse_int,
    refusal::{Answer, NOT_AN_INTEGER, Refusal, SYNTAX, refuse},
};

/// `CLIENT TRACKING ON | OFF [options]`
pub(crate) fn tracking(call: &mut Call<'_, '_>) -> Answer {
    let (mode, prefixes) = options(call)?;
    let client = call.session.id;
    if call.args.is(2, "ON") {
        let before = call.env.state.tracking.mode(client);
        let mode = mode.after(before.as_ref(), &prefixes).map_err(Refusal::from)?;
        (call.session.tracks, call.session.tracks_prefixes) = (true, mode.broadcast);
        call.session.redirect = mode.redirect as i64;
        call.env.state.tracking.turn_on(client, mode);
    } else if call.args.is(2, "OFF") {
        call.env.state.tracking.turn_off(client);
        call.session.forget_tracking();
    } else {
        return refuse(SYNTAX);
    }
    call.session.dirty = true;
    Ok(Reply::OK)
}

fn options<'a>(call: &Call<'a, '_>) -> Answer<(Mode, Vec<&'a [u8]>)> {
    let (mut mode, mut prefixes) = (Mode::default(), Vec::new());
    let mut at = 3;
    while at < call.args.len() {
        let has_next = at + 1 < call.args.len();
        if call.args.is(at, "REDIRECT") && has_next {
            at += 1;
            mode.redirect = redirect(call, at, mode.redirect)?;
        } else if call.args.is(at, "PREFIX") && has_next {
            at += 1;
            prefixes.push(call.key(at)?);
        } else if call.args.is(at, "BCAST") {
            mode.broadcast = true;
        } else if call.args.is(at, "OPTIN") {
            mode.opt_in = true;
        } else if call.args.is(at, "OPTOUT") {
            mode.opt_out = true;
        } else if call.args.is(at, "NOLOOP") {
            mode.no_loop = true;
        } else {
            return refuse(SYNTAX);
        }
        at += 1;
    }
    Ok((mode, prefixes))
}

/// Argument `index` as the number of a client, on any worker, that is there now.
fn redirect(call: &Call<'_, '_>, index: usize, earlier: u64) -> Answer<u64> {
    if earlier != 0 {
        return refuse("ERR A client can only redirect to a single other client");
    }
    let id = parse_int(call.arg(index)).ok_or(Refusal::from(NOT_AN_INTEGER))?;
    let id = u64::try_from(id).unwrap_or(0);
    let is_there = id == call.session.id || call.env.state.clients.worker_of(id)?.is_some();
    if !is_there {
        return refuse("ERR The client ID you want redirect to does not exist");
    }
    Ok(id)
}

/// `CLIENT CACHING YES | NO`
pub(crate) fn caching(call: &mut Call<'_, '_>) -> Answer {
    let mode = call.env.state.tracking.mode(call.session.id).unwrap_or_default();
    if !mode.opt_in && !mode.opt_out {
        return refuse(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode \
             enabled",
        );
    }
    if call.args.is(2, "YES") {
        if !mode.opt_in {
            return refuse("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.");
        }
    } else if call.args.is(2, "NO") {
        if !mode.opt_out {
            return refuse("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.");
        }
    } else {
        return refuse(SYNTAX);
    }
    call.env.state.tracking.set_caching(call.session.id, true);
    Ok(Reply::OK)
}

/// `CLIENT GETREDIR`
pub(crate) fn getredir(call: &mut Call<'_, '_>) -> Answer {
    let mode = call.env.state.tracking.mode(call.session.id);
    Ok(Reply::Int(mode.map_or(-1, |mode| mode.redirect as i64)))
}

/// `CLIENT TRACKINGINFO`
pub(crate) fn trackinginfo(call: &mut Call<'_, '_>) -> Answer {
    let mode = call.env.state.tracking.mode(call.session.id);
    let redirect = mode.as_ref().map_or(-1, |mode| mode.redirect as i64);
    let flags = mode.as_ref().map_or_else(|| vec!["off"], flags);
    let prefixes = mode.map(|mode| mode.prefixes).unwrap_or_default();
    Ok(Reply::Map(vec![
        (Reply::Text("flags"), Reply::Set(flags.into_iter().map(Reply::Text).collect())),
        (Reply::Text("redirect"), Reply::Int(redirect)),
        (Reply::Text("prefixes"), Reply::Array(prefixes.into_iter().map(Reply::Bulk).collect())),
    ]))
}

fn flags(mode: &Mode) -> Vec<&'static str> {
    let all = [
        (true, "on"),
        (mode.broadcast, "bcast"),
        (mode.opt_in, "optin"),
        (mode.opt_in && mode.caching, "caching-yes"),
        (mode.opt_out, "optout"),
        (mode.opt_out && mode.caching, "caching-no"),
        (mode.no_loop, "noloop"),
        (mode.redirect_broken, "broken_redirect"),
    ];
    all.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect()
}
