//! HTTP connections: `hyper` frames the messages, the protocol answers them.

use std::{borrow::Cow, convert::Infallible, rc::Rc};

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    body::{Body as _, Incoming},
    header::{self, HeaderName, HeaderValue},
    http::request::Parts,
    server::conn::http1,
    service::service_fn,
};
use tokio::net::TcpStream;

use super::{
    events::Events,
    hold,
    hub::{Hub, Patience},
    post,
    roster::{Phase, Place, Pulse},
    wire::Wire,
};
use crate::{
    command::{self, Shown, listen_to},
    protocol::http::{
        Answer, Context, Head, Listening, Plan, Response, admit, bad_request, busy, cors_origin, crowded, malformed,
        refused, shown, too_large,
    },
    store::{Error, Stat},
    sys::clock::now_ms,
};

/// Tells which worker answered.
const WORKER: HeaderName = HeaderName::from_static("x-store-worker");
/// Bytes of a body that is too large which are read and thrown away, so that the client gets to read why.
const DISCARDED_BYTES: u64 = 64 << 20;
/// Bytes of a request's line and headers.
const MAX_HEAD_BYTES: usize = 256 * 1024;
/// Bytes that a body is given room for before they have arrived.
const FIRST_BODY_BYTES: usize = 64 * 1024;

type Reply = hyper::Response<Either<Full<Bytes>, Events>>;

/// Serves one connection to its end.
pub(super) async fn serve(hub: Rc<Hub>, place: Place, stream: TcpStream) {
    let place = Rc::new(place);
    let wire = Wire::new(stream, Rc::clone(&hub), Rc::clone(&place.pulse));
    let service = service_fn(|request| {
        let (hub, place) = (Rc::clone(&hub), Rc::clone(&place));
        async move { Ok::<_, Infallible>(respond(&hub, &place, request).await) }
    });
    // The limits on time are kept by the worker's tick, which costs nothing per request.
    let served = http1::Builder::new()
        .header_read_timeout(None)
        .max_header_size(MAX_HEAD_BYTES)
        .half_close(true)
        .serve_connection(wire, service)
        .await;
    // Clients that hang up are an everyday event, and what could not be read was answered.
    drop(served);
}

/// One request to its response.
async fn respond(hub: &Rc<Hub>, place: &Place, request: Request<Incoming>) -> Reply {
    let pulse = &*place.pulse;
    pulse.mark(Phase::Busy, hub.uptime_ms());
    hub.count(Stat::HttpRequests);
    let (parts, body) = request.into_parts();
    let head = match head_of(&parts) {
        Ok(head) => head,
        Err(refusal) => {
            hub.count(Stat::Errors);
            return finished(hub, pulse, *refusal, None);
        }
    };
    let origin = cors_origin(&head, &hub.config);
    hub.follow();
    let plan = match admit(&head, &context(hub)) {
        Ok(plan) => plan,
        Err(refusal) => return finished(hub, pulse, refusal, origin),
    };
    if let Some(listening) = plan.listening().filter(|_| parts.method != Method::HEAD) {
        return match listen(hub, place, shown(&head), listening).await {
            Ok(events) => stream(hub, pulse, events, origin),
            Err(refusal) => finished(hub, pulse, *refusal, origin),
        };
    }
    if let Some(prefixes) = plan.watching().filter(|_| parts.method != Method::HEAD) {
        let mut events = Events::new(hub, place, shown(&head));
        events.watch(prefixes);
        return stream(hub, pulse, events, origin);
    }
    let response = carry_out(hub, pulse, &plan, &parts.headers, body).await;
    finished(hub, pulse, response, origin)
}

fn context(hub: &Hub) -> Context<'_> {
    Context {
        store: &hub.store,
        state: &hub.state,
        config: &hub.config,
        now_ms: now_ms(),
        worker: hub.index,
        draining: hub.is_draining(),
    }
}

/// The parts of the head that the protocol looks at; refused if they contradict each other.
fn head_of(parts: &Parts) -> Result<Head<'_>, Box<Response>> {
    let one = |name: HeaderName| -> Result<Option<&[u8]>, Box<Response>> {
        let mut values = parts.headers.get_all(&name).iter();
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(Box::new(bad_request(format!("header '{name}' appears twice")))),
            (value, None) => Ok(value.map(HeaderValue::as_bytes)),
        }
    };
    let authority = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let host = one(header::HOST)?;
    if host.is_none() && parts.version == hyper::Version::HTTP_11 {
        return Err(Box::new(bad_request("header 'host' is missing")));
    }
    Ok(Head {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        host: authority.or(host),
        origin: one(header::ORIGIN)?,
        authorization: one(header::AUTHORIZATION)?,
        content_type: one(header::CONTENT_TYPE)?,
    })
}

/// Reads the body and runs the plan, again while a stopped process holds what it needs.
async fn carry_out(hub: &Rc<Hub>, pulse: &Pulse, plan: &Plan<'_>, headers: &HeaderMap, body: Incoming) -> Response {
    let body = if plan.takes_body() && !body.is_end_stream() {
        match read_body(hub, pulse, body, plan.body_limit(&hub.config), headers).await {
            Ok(body) => body,
            Err(refusal) => return *refusal,
        }
    } else {
        Bytes::new()
    };
    let mut waiting = Waiting::default();
    loop {
        hold_back(hub, pulse, plan).await;
        if let Answer::Done(response) = plan.run(&body, &context(hub)) {
            // A plan that was refused has posted nothing.
            command::tell(&hub.env());
            post::deliver(hub);
            return response;
        }
        hub.state.bus.discard();
        if let Err(refusal) = waiting.pause(hub, pulse).await {
            return *refusal;
        }
    }
}

/// Waits for the end of a CLIENT PAUSE that holds the request back.
async fn hold_back(hub: &Rc<Hub>, pulse: &Pulse, plan: &Plan<'_>) {
    while plan.waits_for(hub.state.settings.pause(), now_ms()) && !hub.is_draining() {
        pulse.mark(Phase::Held, hub.uptime_ms());
        let held = hold::Held::new(hub, None);
        hold::over(Rc::clone(hub)).await;
        drop(held);
        pulse.mark(Phase::Busy, hub.uptime_ms());
    }
}

/// The wait for a stopped process, if there is one.
#[derive(Default)]
struct Waiting(Option<Patience>);

impl Waiting {
    /// Pauses before the next try; the refusal, if it has taken too long.
    async fn pause(&mut self, hub: &Hub, pulse: &Pulse) -> Result<(), Box<Response>> {
        let patience = self.0.get_or_insert_with(|| {
            hub.count(Stat::Parked);
            Patience::new()
        });
        if patience.is_over(hub.state.settings.lock_wait()) {
            hub.count(Stat::Busy);
            hub.count(Stat::Errors);
            return Err(Box::new(busy()));
        }
        patience.pause().await;
        pulse.mark(Phase::Busy, hub.uptime_ms());
        Ok(())
    }
}

/// Events of what the client wants to hear.
async fn listen(hub: &Rc<Hub>, place: &Place, shown: Shown, wanted: Listening<'_>) -> Result<Events, Box<Response>> {
    let mut events = Events::new(hub, place, shown);
    let mut waiting = Waiting::default();
    loop {
        let (client, subscriptions) = events.listener();
        match listen_to(&hub.state, subscriptions, client, wanted.name, wanted.is_pattern) {
            Ok(()) => return Ok(events),
            Err(Error::Busy) => waiting.pause(hub, &place.pulse).await?,
            Err(error) => {
                hub.count(Stat::Errors);
                return Err(Box::new(refused(error)));
            }
        }
    }
}

/// The whole body, or the refusal of one that is too long or breaks off.
async fn read_body(
    hub: &Hub,
    pulse: &Pulse,
    mut body: Incoming,
    limit: usize,
    headers: &HeaderMap,
) -> Result<Bytes, Box<Response>> {
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        return Err(refuse_body(hub, pulse, body, limit, headers).await);
    }
    pulse.mark(Phase::Body, hub.uptime_ms());
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(Box::new(bad_request("the body broke off"))) };
        let Ok(chunk) = frame.into_data() else { continue };
        if whole.is_empty() && body.is_end_stream() && chunk.len() <= limit {
            pulse.mark(Phase::Busy, hub.uptime_ms());
            return Ok(chunk);
        }
        if whole.len() + chunk.len() > limit {
            return Err(refuse_body(hub, pulse, body, limit, headers).await);
        }
        if whole.is_empty() {
            whole.reserve((announced as usize).min(FIRST_BODY_BYTES));
        }
        whole.extend_from_slice(&chunk);
    }
    pulse.mark(Phase::Busy, hub.uptime_ms());
    Ok(whole.into())
}

/// The refusal, 413. A client that sends all before it reads would never see it if the rest were not read, so it is,
/// within limits, unless the client has asked first.
async fn refuse_body(hub: &Hub, pulse: &Pulse, mut body: Incoming, limit: usize, headers: &HeaderMap) -> Box<Response> {
    hub.count(Stat::Errors);
    let refusal = Box::new(too_large(limit));
    if headers.contains_key(header::EXPECT) || body.size_hint().lower() > DISCARDED_BYTES {
        return refusal;
    }
    pulse.mark(Phase::Body, hub.uptime_ms());
    let mut discarded = 0;
    while let Some(Ok(frame)) = body.frame().await {
        discarded += frame.data_ref().map_or(0, Bytes::len) as u64;
        if discarded > DISCARDED_BYTES {
            break;
        }
    }
    pulse.mark(Phase::Busy, hub.uptime_ms());
    refusal
}

/// The answer that goes on until the client hangs up.
fn stream(hub: &Hub, pulse: &Pulse, events: Events, origin: Option<&[u8]>) -> Reply {
    let head = Response { status: 200, body: None, headers: vec![("cache-control", "no-store".into())] };
    let mut reply = finished(hub, pulse, head, origin);
    pulse.mark(Phase::Listening, hub.uptime_ms());
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    *reply.body_mut() = Either::Right(events);
    reply
}

/// The response as `hyper` sends it.
fn finished(hub: &Hub, pulse: &Pulse, response: Response, origin: Option<&[u8]>) -> Reply {
    pulse.mark(Phase::Answer, hub.uptime_ms());
    let mut reply = hyper::Response::new(Either::Left(Full::default()));
    *reply.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = reply.headers_mut();
    headers.insert(WORKER, hub.tag.clone());
    for (name, value) in response.headers {
        if let Ok(value) = header_value(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    if let Some(origin) = origin.and_then(|origin| HeaderValue::from_bytes(origin).ok()) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
    }
    if hub.is_draining() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(body) = response.body {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(body.content_type));
        *reply.body_mut() = Either::Left(Full::new(body.bytes.into()));
    }
    reply
}

fn header_value(value: Cow<'static, str>) -> Result<HeaderValue, header::InvalidHeaderValue> {
    match value {
        Cow::Borrowed(value) => Ok(HeaderValue::from_static(value)),
        Cow::Owned(value) => HeaderValue::try_from(value),
    }
}

/// The whole response to a client that is one too many; its request is not even read.
pub(super) fn turned_away(hub: &Hub) -> Vec<u8> {
    last_words(hub, &crowded())
}

/// The whole response to bytes that are no request, by the status that says what is wrong with them.
pub(super) fn unreadable(hub: &Hub, status: u16) -> Vec<u8> {
    hub.count(Stat::ProtocolErrors);
    last_words(hub, &malformed(status))
}

/// A whole response, outside `hyper`, after which the connection is closed.
fn last_words(hub: &Hub, response: &Response) -> Vec<u8> {
    let reason = StatusCode::from_u16(response.status).ok().and_then(|status| status.canonical_reason());
    let mut words = format!("HTTP/1.1 {} {}\r\n", response.status, reason.unwrap_or_default()).into_bytes();
    let mut header = |name: &str, value: &[u8]| {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            words.extend_from_slice(part);
        }
    };
    header(WORKER.as_str(), hub.tag.as_bytes());
    header("connection", b"close");
    header("content-length", response.bytes().len().to_string().as_bytes());
    for (name, value) in &response.headers {
        header(name, value.as_bytes());
    }
    if let Some(body) = &response.body {
        header("content-type", body.content_type.as_bytes());
    }
    words.extend_from_slice(b"\r\n");
    words.extend_from_slice(response.bytes());
    words
}
