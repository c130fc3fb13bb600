//! What workers say to each other, and its bytes. To say something new, add a variant here and what is to be done about it in
//! `server::post`.
//!
//! A message is a byte that says which, and its fields: numbers of 8 bytes, and strings behind their length of 4 bytes. Workers of one server
//! are of one build, so there is no version; a message that cannot be read is dropped.

/// Clients that one message names at most.
pub const NAMED_AT_ONCE: usize = 1000;

/// What kind of name a message is published under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A channel.
    Channel,
    /// A channel of sharded pub/sub.
    Shard,
}

/// Something that a worker says to others, or to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// For those who have subscribed to a channel, or to a pattern that it matches.
    Publish {
        /// The kind of channel.
        kind: Kind,
        /// Its name.
        channel: &'a [u8],
        /// What is published.
        payload: &'a [u8],
    },
    /// Close the connections of these clients.
    Kill {
        /// Their numbers, 8 bytes each.
        clients: &'a [u8],
    },
    /// For clients that cache the key, or watch it.
    KeyEvent {
        /// Number of the client that did it; 0: nobody's.
        by: u64,
        /// The key's database.
        db: u8,
        /// The name of the event.
        event: &'a [u8],
        /// The key.
        key: &'a [u8],
    },
    /// A database, or all of them, was flushed: for clients that cache or watch keys.
    Flushed {
        /// The database.
        db: Option<u8>,
    },
    /// What users may do has changed.
    Users,
    /// Something that clients should have been told of keys was lost.
    Missed,
    /// This worker has lost messages: who tells its clients something in the place of others says with [`Message::AllChanged`] what may have been
    /// among them.
    Overtaken {
        /// Its index.
        worker: usize,
    },
    /// For clients that are told in the place of others that any key may have changed.
    AllChanged {
        /// Their numbers, 8 bytes each; who is not there is passed over.
        clients: &'a [u8],
    },
    /// For a client that is told in the place of another that keys have changed.
    Invalidate {
        /// The client.
        client: u64,
        /// The keys, as a RESP list; empty: all.
        keys: &'a [u8],
    },
    /// A command that was carried out: for clients that watch commands.
    Monitor {
        /// The line that they are shown.
        line: &'a [u8],
    },
}

mod tag {
    pub(super) const PUBLISH: u8 = 1;
    pub(super) const SHARD_PUBLISH: u8 = 2;
    pub(super) const KILL: u8 = 3;
    pub(super) const KEY_EVENT: u8 = 4;
    pub(super) const FLUSHED: u8 = 5;
    pub(super) const MISSED: u8 = 6;
    pub(super) const INVALIDATE: u8 = 7;
    pub(super) const MONITOR: u8 = 8;
    pub(super) const USERS: u8 = 9;
    pub(super) const OVERTAKEN: u8 = 10;
    pub(super) const ALL_CHANGED: u8 = 11;
}

/// Stands for all databases.
const ALL_DATABASES: u64 = u64::MAX;

impl<'a> Message<'a> {
    /// Bytes of [`Message::encode`].
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Publish { channel, payload, .. } => 1 + 2 * 4 + channel.len() + payload.len(),
            Self::Kill { clients } | Self::AllChanged { clients } => 1 + 4 + clients.len(),
            Self::KeyEvent { event, key, .. } => 1 + 2 * 8 + 2 * 4 + event.len() + key.len(),
            Self::Flushed { .. } | Self::Overtaken { .. } => 1 + 8,
            Self::Users | Self::Missed => 1,
            Self::Invalidate { keys, .. } => 1 + 8 + 4 + keys.len(),
            Self::Monitor { line } => 1 + 4 + line.len(),
        }
    }

    /// The bytes of the message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer(Vec::with_capacity(self.encoded_len()));
        match self {
            Self::Publish { kind, channel, payload } => {
                out.tag(if *kind == Kind::Channel { tag::PUBLISH } else { tag::SHARD_PUBLISH });
                out.string(channel);
                out.string(payload);
            }
            Self::Kill { clients } => {
                out.tag(tag::KILL);
                out.string(clients);
            }
            Self::KeyEvent { by, db, event, key } => {
                out.tag(tag::KEY_EVENT);
                out.number(*by);
                out.number(u64::from(*db));
                out.string(event);
                out.string(key);
            }
            Self::Flushed { db } => {
                out.tag(tag::FLUSHED);
                out.number(db.map_or(ALL_DATABASES, u64::from));
            }
            Self::Users => out.tag(tag::USERS),
            Self::Missed => out.tag(tag::MISSED),
            Self::Overtaken { worker } => {
                out.tag(tag::OVERTAKEN);
                out.number(*worker as u64);
            }
            Self::AllChanged { clients } => {
                out.tag(tag::ALL_CHANGED);
                out.string(clients);
            }
            Self::Invalidate { client, keys } => {
                out.tag(tag::INVALIDATE);
                out.number(*client);
                out.string(keys);
            }
            Self::Monitor { line } => {
                out.tag(tag::MONITOR);
                out.string(line);
            }
        }
        out.0
    }

    /// The message of these bytes; `None` if they are none.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut bytes = Reader(bytes);
        let message = match bytes.tag()? {
            tag @ (tag::PUBLISH | tag::SHARD_PUBLISH) => {
                let kind = if tag == tag::PUBLISH { Kind::Channel } else { Kind::Shard };
                Self::Publish { kind, channel: bytes.string()?, payload: bytes.string()? }
            }
            tag::KILL => Self::Kill { clients: bytes.string()? },
            tag::KEY_EVENT => Self::KeyEvent {
                by: bytes.number()?,
                db: u8::try_from(bytes.number()?).ok()?,
                event: bytes.string()?,
                key: bytes.string()?,
            },
            tag::FLUSHED => match bytes.number()? {
                ALL_DATABASES => Self::Flushed { db: None },
                db => Self::Flushed { db: Some(u8::try_from(db).ok()?) },
            },
            tag::USERS => Self::Users,
            tag::MISSED => Self::Missed,
            tag::OVERTAKEN => Self::Overtaken { worker: usize::try_from(bytes.number()?).ok()? },
            tag::ALL_CHANGED => Self::AllChanged { clients: bytes.string()? },
            tag::INVALIDATE => Self::Invalidate { client: bytes.number()?, keys: bytes.string()? },
            tag::MONITOR => Self::Monitor { line: bytes.string()? },
            _ => return None,
        };
        bytes.0.is_empty().then_some(message)
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn tag(&mut self, tag: u8) {
        self.0.push(tag);
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn string(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.0.extend_from_slice(bytes);
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn tag(&mut self) -> Option<u8> {
        self.take(1).map(|tag| tag[0])
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let len: [u8; 4] = self.take(4)?.try_into().ok()?;
        self.take(u32::from_le_bytes(len) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Message<'static>> {
        let publish = |kind, channel, payload| Message::Publish { kind, channel, payload };
        vec![
            publish(Kind::Channel, &b"news"[..], &b"hello"[..]),
            publish(Kind::Channel, b"", b""),
            publish(Kind::Shard, b"\0\xff", &[b'x'; 3000]),
            Message::Kill { clients: &[7; 16] },
            Message::KeyEvent { by: 7, db: 15, event: b"set", key: b"k\0" },
            Message::Flushed { db: Some(3) },
            Message::Flushed { db: None },
            Message::Users,
            Message::Missed,
            Message::Overtaken { worker: 3 },
            Message::AllChanged { clients: &[7; 16] },
            Message::Invalidate { client: u64::MAX, keys: b"*1\r\n$1\r\nk\r\n" },
            Message::Monitor { line: b"1.000000 [0 x] \"ping\"" },
        ]
    }

    #[test]
    fn a_message_comes_back_from_its_bytes() {
        for message in all() {
            let bytes = message.encode();
            assert_eq!(bytes.len(), message.encoded_len());
            assert_eq!(Message::decode(&bytes), Some(message));
        }
    }

    #[test]
    fn bytes_that_are_no_message_are_none() {
        for message in all() {
            let bytes = message.encode();
            assert_eq!(Message::decode(&bytes[..bytes.len() - 1]), None);
            assert_eq!(Message::decode(&[&bytes[..], b"x"].concat()), None);
        }
        assert_eq!(Message::decode(b""), None);
        assert_eq!(Message::decode(&[0; 20]), None);
        assert_eq!(Message::decode(&[tag::PUBLISH, 0xff, 0xff, 0xff, 0xff, 1]), None);
    }
}
