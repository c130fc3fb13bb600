//! One request from its head to its answer, in two steps.
//!
//! [`admit`] sees the head alone and refuses what needs no body to be refused: an unknown Host, a wrong password, a
//! path that is not there. What it admits is a [`Plan`], which says how long a body it takes and can then be run, again
//! and again while the store answers that it must wait.

use super::{
    channels, counters,
    error::{Failure, Refusal, bad, busy, refusal},
    events::Listening,
    guard,
    json::{self, Object},
    kv, metrics, ops,
    query::Query,
    response::Response,
    route::{Method, Route, allow},
    rows, tables,
};
use crate::{
    command::{Class, Pause, WorkerState, prepare_change},
    config::Config,
    store::{Result as StoreResult, Stat, Store},
};

/// Bytes of an ordinary JSON body: the largest row, each byte written as an escape, and room to spare.
const MAX_JSON_BYTES: usize = 1 << 20;
/// Bytes of an `mset` body: as many of the largest rows as it takes.
const MAX_BATCH_BYTES: usize = 32 << 20;

/// The parts of a request's head that matter.
#[derive(Debug, Clone, Copy, Default)]
pub struct Head<'a> {
    /// The method, in upper case as it was sent.
    pub method: &'a str,
    /// The path, still percent-encoded.
    pub path: &'a str,
    /// What follows `?`, still percent-encoded.
    pub query: &'a str,
    /// `Host`, or the authority of an absolute target.
    pub host: Option<&'a [u8]>,
    /// `Origin`.
    pub origin: Option<&'a [u8]>,
    /// `Authorization`.
    pub authorization: Option<&'a [u8]>,
    /// `Content-Type`.
    pub content_type: Option<&'a [u8]>,
}

/// What a request is answered from.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The store.
    pub store: &'a Store,
    /// What the worker keeps between requests.
    pub state: &'a WorkerState,
    /// The settings.
    pub config: &'a Config,
    /// Milliseconds of the Unix clock.
    pub now_ms: u64,
    /// The index of the worker that answers.
    pub worker: usize,
    /// Whether the worker is stopping.
    pub draining: bool,
}

/// What came of a request.
#[derive(Debug)]
pub enum Answer {
    /// This is the answer.
    Done(Response),
    /// A stopped process holds what the request needs; nothing was changed. Run the plan again a little later.
    Wait,
}

/// An admitted request.
#[derive(Debug)]
pub struct Plan<'a> {
    route: Route<'a>,
    method: Method,
    query: Query<'a>,
    content_type: Option<&'a [u8]>,
}

/// What a route's code works on.
pub(super) struct Call<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) query: &'a Query<'a>,
    pub(super) body: &'a [u8],
    content_type: Option<&'a [u8]>,
}

/// Checks a request's head; returns what to do with it, or the refusal.
///
/// # Errors
///
/// The response that refuses it: 400, 401, 403, 404 or 405, or the answer to a preflight.
pub fn admit<'a>(head: &Head<'a>, context: &Context<'_>) -> Result<Plan<'a>, Response> {
    examine(head, context).inspect_err(|refused| {
        if refused.status >= 400 {
            context.store.statistics().add(Stat::Errors, 1);
        }
    })
}

fn examine<'a>(head: &Head<'a>, context: &Context<'_>) -> Result<Plan<'a>, Response> {
    guard::check_sender(head, context.config).map_err(|refusal| refusal.response())?;
    let method = Method::parse(head.method);
    let route = Route::parse(head.path).map_err(|refusal| refusal.response());
    if method == Method::Options {
        return Err(preflight(&route?));
    }
    if !is_open(route.as_ref().ok(), context.config) {
        check_password(head, context)?;
    }
    let route = route?;
    if !route.methods().contains(&method) {
        let refusal = refusal(405, "method_not_allowed", format!("{} is not a method of this path", head.method));
        return Err(refusal.response().with("allow", allow(route.methods())));
    }
    let query = Query::parse(head.query, route.parameters(method)).map_err(|refusal| refusal.response())?;
    Ok(Plan { route, method, query, content_type: head.content_type })
}

fn is_open(route: Option<&Route<'_>>, config: &Config) -> bool {
    match route {
        Some(Route::Metrics) => config.metrics_open,
        Some(route) => route.is_probe(),
        None => false,
    }
}

fn check_password(head: &Head<'_>, context: &Context<'_>) -> Result<(), Response> {
    if context.state.acl.is_behind() {
        return Err(busy());
    }
    guard::check_user(head, &context.state.acl.default_user()).map_err(|refusal| {
        if head.authorization.is_some() {
            context.store.statistics().add(Stat::AuthFailures, 1);
        }
        refusal.response().with("www-authenticate", "Bearer")
    })
}

/// What a browser asks before it sends a request of another origin. The server adds the origin where it is allowed.
fn preflight(route: &Route<'_>) -> Response {
    let methods = allow(route.methods());
    Response::no_content()
        .with("allow", methods.clone())
        .with("access-control-allow-methods", methods)
        .with("access-control-allow-headers", "authorization, content-type")
        .with("access-control-max-age", "600")
}

impl Plan<'_> {
    /// Bytes of body that the request may have.
    #[must_use]
    pub fn body_limit(&self, config: &Config) -> usize {
        match (&self.route, self.method) {
            (Route::Value(_), Method::Put) | (Route::Channel(_), _) => config.max_value,
            (Route::Mset(_), _) => MAX_BATCH_BYTES,
            _ => MAX_JSON_BYTES,
        }
    }

    /// Whether a body means anything to this request; if not, none need be read.
    #[must_use]
    pub fn takes_body(&self) -> bool {
        matches!(self.method, Method::Put | Method::Post)
    }

    /// Whether it has to wait for the end of a pause. What tells how the server is never waits.
    #[must_use]
    pub fn waits_for(&self, pause: Pause, now_ms: u64) -> bool {
        let writes = self.method != Method::Get && !matches!(self.route, Route::Mget(_));
        !self.route.is_of_operators() && pause.holds_request(writes, now_ms)
    }

    /// What is to be listened to, if the answer is events that never end. Such a plan is not run.
    #[must_use]
    pub fn listening(&self) -> Option<Listening<'_>> {
        match &self.route {
            Route::Events(name) => Some(Listening { name, is_pattern: self.query.is_pattern }),
            _ => None,
        }
    }

    /// The prefixes of the keys that are to be watched, none for all, if the answer is events that never end. Such a plan is not run.
    #[must_use]
    pub fn watching(&self) -> Option<&[Vec<u8>]> {
        (self.route == Route::Watch).then_some(&self.query.prefixes)
    }

    /// Carries the request out. It may be run again if the answer is [`Answer::Wait`].
    #[must_use]
    pub fn run(&self, body: &[u8], context: &Context<'_>) -> Answer {
        let call = Call { context, query: &self.query, body, content_type: self.content_type };
        let made = if self.may_need_memory() { context.store.make_room() } else { Ok(()) };
        match made.map_err(Failure::from).and_then(|()| self.dispatch(&call)) {
            Ok(response) => Answer::Done(response),
            Err(Failure::Wait) => Answer::Wait,
            Err(Failure::Refused(refusal)) => {
                context.store.statistics().add(Stat::Errors, 1);
                Answer::Done(refusal.response())
            }
        }
    }

    /// Whether it is refused when more memory is in use than may be, as the commands that do the same are: what only deletes is not.
    fn may_need_memory(&self) -> bool {
        match (&self.route, self.method) {
            (Route::Value(_) | Route::Row(..) | Route::Counter(_), method) => method == Method::Put,
            (Route::Tables, method) => method == Method::Post,
            (Route::ValueStep(..) | Route::RowStep(..) | Route::RowCas(..) | Route::Mset(_), _)
            | (Route::CounterStep(..) | Route::CounterReset(_) | Route::CounterCas(_), _) => true,
            _ => false,
        }
    }

    fn dispatch(&self, call: &Call<'_>) -> Result<Response, Failure> {
        match (&self.route, self.method) {
            (Route::Value(k), Method::Get) => kv::get(call, k),
            (Route::Value(k), Method::Put) => kv::put(call, k),
            (Route::Value(k), _) => kv::delete(call, k),
            (Route::ValueStep(k, direction), _) => kv::step(call, k, *direction),
            (Route::Row(t, k), Method::Get) => rows::get(call, t, k),
            (Route::Row(t, k), Method::Put) => rows::put(call, t, k),
            (Route::Row(t, k), _) => rows::delete(call, t, k),
            (Route::RowStep(t, k, direction), _) => rows::step(call, t, k, *direction),
            (Route::RowCas(t, k), _) => rows::cas(call, t, k),
            (Route::RowGetdel(t, k), _) => rows::getdel(call, t, k),
            (Route::RowExpire(t, k), _) => rows::expire(call, t, k),
            (Route::RowPersist(t, k), _) => rows::persist(call, t, k),
            (Route::RowTtl(t, k), _) => rows::ttl(call, t, k),
            (Route::Counter(c), Method::Get) => counters::get(call, c),
            (Route::Counter(c), Method::Put) => counters::put(call, c),
            (Route::Counter(c), _) => counters::delete(call, c),
            (Route::CounterStep(c, direction), _) => counters::step(call, c, *direction),
            (Route::CounterReset(c), _) => counters::reset(call, c),
            (Route::CounterCas(c), _) => counters::cas(call, c),
            (Route::Counters, _) => counters::list(call),
            (Route::Tables, Method::Get) => tables::list(call),
            (Route::Tables, _) => tables::make(call),
            (Route::Table(t), Method::Get) => tables::info(call, t),
            (Route::Table(t), _) => tables::drop(call, t),
            (Route::Rows(t), Method::Get) => tables::page(call, t),
            (Route::Rows(t), _) => tables::clear(call, t),
            (Route::Count(t), _) => tables::count(call, t),
            (Route::Mget(t), _) => tables::mget(call, t),
            (Route::Mset(t), _) => tables::mset(call, t),
            (Route::Channel(c), _) => channels::post(call, c),
            (Route::Events(_) | Route::Watch, _) => Ok(Response::no_content()),
            (Route::Stats, _) => ops::stats(call),
            (Route::Health, _) => Ok(ops::health()),
            (Route::Ready, _) => ops::ready(call),
            (Route::Metrics, _) => metrics::text(call),
        }
    }
}

impl Call<'_> {
    /// The store.
    pub(super) fn store(&self) -> &Store {
        self.context.store
    }

    /// The members of a JSON body that must be there.
    pub(super) fn members(&self) -> Result<Object<'_>, Refusal> {
        if self.body.is_empty() {
            return Err(bad("this request needs a JSON object as its body"));
        }
        if !self.content_type.is_some_and(is_json) {
            let message = "the body must be sent with 'content-type: application/json'";
            return Err(refusal(415, "unsupported_media_type", message));
        }
        json::object(self.body)
    }

    /// The members of a JSON body that may be missing.
    pub(super) fn optional_members(&self) -> Result<Object<'_>, Refusal> {
        if self.body.is_empty() { Ok(Object::default()) } else { self.members() }
    }

    /// Refuses a body with anything in it.
    pub(super) fn no_members(&self) -> Result<(), Refusal> {
        self.optional_members()?.finish()
    }

    /// Before a key is changed: what `notify` will have to say about it is found out while anybody listens.
    pub(super) fn prepare(&self, db: u8, key: &[u8]) -> StoreResult<()> {
        prepare_change(self.context.state, self.context.store, self.context.now_ms, db, key)
    }

    /// Tells who listens what happened to a key.
    pub(super) fn notify(&self, db: u8, class: Class, event: &'static str, key: &[u8]) {
        self.context.state.notices.add(self.context.store, 0, db, class, event, key);
    }

    /// Counts a read, and whether it found something.
    pub(super) fn count_read(&self, found: bool) {
        let statistics = self.store().statistics();
        statistics.add(Stat::Reads, 1);
        statistics.add(if found { Stat::Hits } else { Stat::Misses }, 1);
    }

    /// Counts writes.
    pub(super) fn count_writes(&self, writes: usize) {
        self.store().statistics().add(Stat::Writes, writes as u64);
    }
}

fn is_json(content_type: &[u8]) -> bool {
    let media_type = content_type.split(|&b| b == b';').next().unwrap_or_default();
    media_type.trim_ascii().eq_ignore_ascii_case(b"application/json")
}
