//! The least that an HTTP server in Rust can do: hyper as it comes, one thread, one constant.

use std::{convert::Infallible, net::Ipv4Addr};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, runtime::Builder};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Answers every request on this port of the loopback interface with this body, until the process is ended.
///
/// # Errors
///
/// The port cannot be bound.
pub(crate) fn serve(port: u16, body: String) -> std::io::Result<()> {
    let body = Bytes::from(body);
    let runtime = Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let body = body.clone();
            let service = service_fn(move |_: Request<Incoming>| {
                let mut response = Response::new(Full::new(body.clone()));
                response.headers_mut().insert(CONTENT_TYPE, JSON);
                async { Ok::<_, Infallible>(response) }
            });
            // Clients that hang up are an everyday event.
            tokio::spawn(async { drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await) });
        }
    })
}
