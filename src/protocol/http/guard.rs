//! Who may ask: Host, Origin and password.
//!
//! A page in a browser can send requests to a store on the same machine. Its `Origin` gives it away; and if it
//! makes its own name resolve to this machine, the `Host` does. Both are checked on every route.

use super::{
    call::Head,
    error::{Refusal, refusal},
};
use crate::{
    command::{Shown, User},
    config::Config,
};

/// Refuses a Host or an Origin that is not expected.
pub(super) fn check_sender(head: &Head<'_>, config: &Config) -> Result<(), Refusal> {
    if let Some(host) = head.host
        && !host_is_known(host, config)
    {
        return Err(forbidden("this Host is not expected here; allow it with --host"));
    }
    match head.origin {
        Some(origin) if !origin_is_allowed(head, origin, config) => {
            Err(forbidden("this Origin is not allowed; allow it with --allow-origin"))
        }
        _ => Ok(()),
    }
}

/// Refuses a request without the password, if there is one, and every request if the user may not do everything: routes know no finer
/// permissions. What the comparison takes does not depend on the password.
pub(super) fn check_user(head: &Head<'_>, user: &User) -> Result<(), Refusal> {
    if !user.needs_no_password() {
        match head.authorization.and_then(bearer) {
            Some(given) if user.admits(given) => {}
            Some(_) => return Err(refusal(401, "unauthorized", "the password is wrong")),
            None => {
                return Err(refusal(401, "unauthorized", "send the password as 'Authorization: Bearer <password>'"));
            }
        }
    }
    if user.may_do_everything() {
        return Ok(());
    }
    Err(forbidden("the user 'default' may not do everything; give it allcommands, allkeys and allchannels to use HTTP"))
}

/// What a client has shown to be let in, for an answer that goes on for longer than the look at it.
#[must_use]
pub fn shown(head: &Head<'_>) -> Shown {
    Shown::of(head.authorization.and_then(bearer))
}

/// The value of `access-control-allow-origin` for this request, if its Origin is one that `--allow-origin` names.
#[must_use]
pub fn cors_origin<'a>(head: &Head<'a>, config: &Config) -> Option<&'a [u8]> {
    head.origin.filter(|origin| is_listed(origin, config))
}

fn forbidden(message: &'static str) -> Refusal {
    refusal(403, "forbidden", message)
}

/// An IP address, `localhost`, or a `--host`, each with or without a port.
fn host_is_known(host: &[u8], config: &Config) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let name = without_port(host);
    let is_address = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.parse::<std::net::Ipv4Addr>().is_ok(),
    };
    let is_named = |known: &String| known.eq_ignore_ascii_case(name) || known.eq_ignore_ascii_case(host);
    is_address || name.eq_ignore_ascii_case("localhost") || config.hosts.iter().any(is_named)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// The Origin of this very server, which a page that it served has, or one that `--allow-origin` names.
fn origin_is_allowed(head: &Head<'_>, origin: &[u8], config: &Config) -> bool {
    let own = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    let is_own = matches!((own, head.host), (Some(own), Some(host)) if own.eq_ignore_ascii_case(host));
    is_own || is_listed(origin, config)
}

fn is_listed(origin: &[u8], config: &Config) -> bool {
    config.allow_origins.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(origin))
}

fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = authorization.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(host: &str, config: &Config) -> bool {
        check_sender(&Head { host: Some(host.as_bytes()), ..Head::default() }, config).is_ok()
    }

    #[test]
    fn hosts() {
        let config = Config { hosts: vec!["store.example".into(), "other:81".into()], ..Config::default() };
        for host in ["127.0.0.1", "10.0.0.1:8080", "[::1]", "[::1]:80", "localhost", "LocalHost:1", "localhost:"] {
            assert!(known(host, &config), "{host}");
        }
        for host in ["store.example", "STORE.example:80", "other:81"] {
            assert!(known(host, &config), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1:80:80", "other"]
        {
            assert!(!known(host, &config), "{host}");
        }
        for host in ["[::1", "::1", "localhost:80@evil", "store.example.", "[127.0.0.1]"] {
            assert!(!known(host, &config), "{host}");
        }
    }

    #[test]
    fn origins() {
        let config = Config { allow_origins: vec!["https://app.example".into()], ..Config::default() };
        let allowed = |origin: &str| {
            let head = Head { host: Some(b"localhost:8080"), origin: Some(origin.as_bytes()), ..Head::default() };
            check_sender(&head, &config).is_ok()
        };
        assert!(allowed("http://localhost:8080") && allowed("https://app.example"));
        for origin in ["null", "", "http://localhost:3000", "http://app.example", "https://app.example.evil", "file://"]
        {
            assert!(!allowed(origin), "{origin}");
        }
    }

    #[test]
    fn passwords() {
        let ask = |authorization: Option<&'static str>| {
            let head = Head { authorization: authorization.map(str::as_bytes), ..Head::default() };
            check_user(&head, &User::default_with(Some("sesame"))).is_ok()
        };
        assert!(ask(Some("Bearer sesame")) && ask(Some("bearer  sesame ")));
        for given in [None, Some(""), Some("Bearer"), Some("Bearer "), Some("Bearer sesam"), Some("Bearer sesamE")] {
            assert!(!ask(given), "{given:?}");
        }
        for given in [Some("Basic sesame"), Some("sesame"), Some("Bearer sesamesesame")] {
            assert!(!ask(given), "{given:?}");
        }
        assert!(check_user(&Head::default(), &User::default_with(None)).is_ok());
    }

    #[test]
    fn what_was_shown_holds_for_as_long_as_it_would_let_one_in() {
        let with = shown(&Head { authorization: Some(b"Bearer sesame"), ..Head::default() });
        let without = shown(&Head::default());
        let opens = |user: &User| (user.is_open_to(&with), user.is_open_to(&without));
        assert_eq!(opens(&User::default_with(None)), (true, true));
        assert_eq!(opens(&User::default_with(Some("sesame"))), (true, false));
        assert_eq!(opens(&User::default_with(Some("another"))), (false, false));
    }
}
