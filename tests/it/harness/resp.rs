//! A RESP client that sends what it is told, well-formed or not, and reads any RESP2 or RESP3 reply.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Longest wait for a reply unless a test says otherwise: longer means that the server hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// A reply, as it came.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reply {
    Status(String),
    Error(String),
    Int(i64),
    Double(f64),
    Bool(bool),
    Bulk(Vec<u8>),
    Verbatim(String),
    /// RESP2's null bulk and null array, and RESP3's null.
    Null,
    Array(Vec<Reply>),
    Map(Vec<(Reply, Reply)>),
    Set(Vec<Reply>),
    Push(Vec<Reply>),
}

impl Reply {
    pub(crate) fn ok() -> Self {
        Self::Status("OK".to_owned())
    }

    pub(crate) fn bulk(bytes: impl AsRef<[u8]>) -> Self {
        Self::Bulk(bytes.as_ref().to_vec())
    }

    /// Text of a status, a bulk or a verbatim string.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Status(text) | Self::Verbatim(text) => text.clone(),
            Self::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("no text: {other:?}"),
        }
    }

    pub(crate) fn int(&self) -> i64 {
        match self {
            Self::Int(n) => *n,
            other => panic!("no integer: {other:?}"),
        }
    }

    pub(crate) fn items(&self) -> &[Reply] {
        match self {
            Self::Array(items) | Self::Set(items) | Self::Push(items) => items,
            other => panic!("no array: {other:?}"),
        }
    }

    /// First word of an error; `None` of anything else.
    pub(crate) fn error(&self) -> Option<&str> {
        match self {
            Self::Error(text) => text.split(' ').next(),
            _ => None,
        }
    }

    /// Field and value pairs of a map or of RESP2's flat array.
    pub(crate) fn pairs(&self) -> Vec<(Reply, Reply)> {
        match self {
            Self::Map(pairs) => pairs.clone(),
            Self::Array(items) => items.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect(),
            other => panic!("no map: {other:?}"),
        }
    }

    /// The value of a field of a map or flat array.
    pub(crate) fn field(&self, name: &str) -> Reply {
        let found = self.pairs().into_iter().find(|(key, _)| key.text() == name);
        found.unwrap_or_else(|| panic!("no field {name} in {self:?}")).1
    }
}

/// One connection.
pub(crate) struct Resp {
    reader: BufReader<TcpStream>,
}

impl Resp {
    pub(crate) fn open(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { reader: BufReader::with_capacity(1 << 16, stream) })
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    /// Longest wait for a reply from now on.
    pub(crate) fn patience(&self, patience: Duration) {
        self.stream().set_read_timeout(Some(patience)).unwrap();
    }

    /// Sends words separated by single blanks and reads the reply.
    pub(crate) fn run(&mut self, words: &str) -> Reply {
        self.cmd(&words.split(' ').collect::<Vec<_>>())
    }

    /// Sends a command of any bytes and reads the reply.
    pub(crate) fn cmd<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Reply {
        self.try_cmd(args).unwrap_or_else(|error| {
            let shown: Vec<_> = args.iter().map(|arg| String::from_utf8_lossy(arg.as_ref()).into_owned()).collect();
            panic!("`{:.100}`: {error}", shown.join(" "))
        })
    }

    /// As [`Resp::cmd`], with the connection's failure as a value.
    pub(crate) fn try_cmd<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Reply> {
        self.send(&encode(args))?;
        self.read()
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream().write_all(bytes)
    }

    /// Reads one reply.
    pub(crate) fn read(&mut self) -> io::Result<Reply> {
        read_reply(&mut self.reader)
    }

    /// Everything until the server closes the connection, which it must do within the patience.
    pub(crate) fn read_to_close(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.reader.read_to_end(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => bytes,
            Err(error) => panic!("connection was not closed: {error}; read {:?}", String::from_utf8_lossy(&bytes)),
            Ok(_) => bytes,
        }
    }
}

/// A command as RESP writes it.
pub(crate) fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.as_ref().len()).as_bytes());
        out.extend_from_slice(arg.as_ref());
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn read_reply(reader: &mut impl BufRead) -> io::Result<Reply> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    if !line.ends_with(b"\r\n") {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "connection closed inside a reply"));
    }
    let text = String::from_utf8(line[1..line.len() - 2].to_vec()).map_err(|e| bad(e.to_string()))?;
    let number = || text.parse::<i64>().map_err(|_| bad(format!("number in {text:?}")));
    Ok(match line[0] {
        b'+' => Reply::Status(text),
        b'-' => Reply::Error(text),
        b':' => Reply::Int(number()?),
        b',' => Reply::Double(text.parse().map_err(|_| bad(format!("double in {text:?}")))?),
        b'#' => Reply::Bool(text == "t"),
        b'_' => Reply::Null,
        b'$' | b'*' if text == "-1" => Reply::Null,
        b'$' => Reply::Bulk(read_bytes(reader, number()?)?),
        b'=' => {
            let bytes = read_bytes(reader, number()?)?;
            Reply::Verbatim(String::from_utf8_lossy(&bytes[4..]).into_owned())
        }
        b'*' => Reply::Array(read_many(reader, number()?)?),
        b'~' => Reply::Set(read_many(reader, number()?)?),
        b'>' => Reply::Push(read_many(reader, number()?)?),
        b'%' => {
            let pairs = (0..number()?).map(|_| Ok((read_reply(reader)?, read_reply(reader)?)));
            Reply::Map(pairs.collect::<io::Result<_>>()?)
        }
        other => return Err(bad(format!("reply type {:?} in front of {text:?}", char::from(other)))),
    })
}

fn read_many(reader: &mut impl BufRead, count: i64) -> io::Result<Vec<Reply>> {
    (0..count).map(|_| read_reply(reader)).collect()
}

fn read_bytes(reader: &mut impl BufRead, len: i64) -> io::Result<Vec<u8>> {
    let len = usize::try_from(len).map_err(|_| bad(format!("length {len}")))?;
    let mut bytes = vec![0; len + 2];
    reader.read_exact(&mut bytes)?;
    if bytes.split_off(len) != b"\r\n" {
        return Err(bad("bulk without its end".to_owned()));
    }
    Ok(bytes)
}

fn bad(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
