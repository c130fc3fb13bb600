//! An HTTP/1.1 client on one kept-alive connection, with no opinion about what it sends.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

/// Longest wait for an answer unless a test says otherwise: longer means that the server hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{} {text:?}: {error}", self.status))
    }

    /// Status and error code, which every error body must have.
    pub(crate) fn error(&self) -> (u16, String) {
        let body = self.json();
        let message = body["error"]["message"].as_str().unwrap_or_default();
        assert!(!message.is_empty(), "an error without a message: {body}");
        (self.status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
    }

    /// Index and process id of the worker that answered.
    pub(crate) fn worker(&self) -> (usize, i32) {
        let header = self.header("x-store-worker").expect("every response names its worker");
        let (index, pid) = header.split_once('/').expect("index/pid");
        (index.parse().unwrap(), pid.parse().unwrap())
    }
}

/// One connection.
pub(crate) struct Http {
    reader: BufReader<TcpStream>,
    addr: SocketAddr,
}

impl Http {
    pub(crate) fn open(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { reader: BufReader::new(stream), addr })
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    /// Longest wait for an answer from now on.
    pub(crate) fn patience(&self, patience: Duration) {
        self.stream().set_read_timeout(Some(patience)).unwrap();
    }

    /// A request without a body.
    pub(crate) fn call(&mut self, method: &str, path: &str) -> Response {
        self.request(method, path, &[], None)
    }

    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.call("GET", path)
    }

    /// A request with a JSON body.
    pub(crate) fn send_json(&mut self, method: &str, path: &str, body: &Value) -> Response {
        self.request(method, path, &[("content-type", "application/json")], Some(body.to_string().as_bytes()))
    }

    pub(crate) fn post(&mut self, path: &str, body: &Value) -> Response {
        self.send_json("POST", path, body)
    }

    pub(crate) fn put(&mut self, path: &str, body: &Value) -> Response {
        self.send_json("PUT", path, body)
    }

    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Response {
        let answer = self.try_request(method, path, headers, body);
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// As [`Http::request`], with the connection's failure as a value. A `Host` is added unless one is given.
    pub(crate) fn try_request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> io::Result<Response> {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head += &format!("host: {}\r\n", self.addr);
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = body {
            head += &format!("content-length: {}\r\n", body.len());
        }
        let mut bytes = (head + "\r\n").into_bytes();
        bytes.extend_from_slice(body.unwrap_or_default());
        self.send(&bytes)?;
        self.read(method == "HEAD")
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream().write_all(bytes)
    }

    /// Reads one answer; the answer to a `HEAD` has no body.
    pub(crate) fn read(&mut self, head: bool) -> io::Result<Response> {
        let status_line = self.line()?;
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| bad(format!("status line {status_line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| bad(format!("header {line:?}")))?;
            headers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        let mut response = Response { status, headers, body: Vec::new() };
        if !head && status != 204 && status >= 200 {
            response.body = self.body(&response)?;
        }
        Ok(response)
    }

    fn body(&mut self, response: &Response) -> io::Result<Vec<u8>> {
        if response.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return self.chunks();
        }
        let len = response.header("content-length").map_or(Ok(0), str::parse);
        let mut body = vec![0; len.map_err(|_| bad("content-length".to_owned()))?];
        self.reader.read_exact(&mut body)?;
        Ok(body)
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let len = usize::from_str_radix(&line, 16).map_err(|_| bad(format!("chunk length {line:?}")))?;
            let mut chunk = vec![0; len];
            self.reader.read_exact(&mut chunk)?;
            body.append(&mut chunk);
            self.line()?;
            if len == 0 {
                return Ok(body);
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        if !line.ends_with("\r\n") {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "connection closed inside an answer"));
        }
        line.truncate(line.len() - 2);
        Ok(line)
    }
}

/// Any bytes as a path segment.
pub(crate) fn percent(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("%{byte:02X}")).collect()
}

fn bad(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
