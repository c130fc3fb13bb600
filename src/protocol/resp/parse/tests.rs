//! The parser against requests that are whole, cut, pipelined, hostile and random.

use proptest::prelude::*;

use super::*;

type Request = Vec<Vec<u8>>;

const LIMITS: RequestLimits =
    RequestLimits { args: 1024, bulk_bytes: 100_000, line_bytes: 64 * 1024, request_bytes: 200_000 };

/// All requests of a stream that arrives in pieces which end at `cuts`, and the error that ends it.
fn parse(stream: &[u8], cuts: &[usize], limits: RequestLimits) -> (Vec<Request>, Option<ProtocolError>) {
    let mut parser = Parser::new(limits);
    let (mut buf, mut args, mut requests) = (Vec::new(), Vec::new(), Vec::new());
    let ends = cuts.iter().copied().chain([stream.len()]);
    let mut arrived = 0;
    for end in ends {
        let end = end.clamp(arrived, stream.len());
        buf.extend_from_slice(&stream[arrived..end]);
        arrived = end;
        loop {
            match parser.next(&mut buf, &mut args) {
                Ok(Some(taken)) => {
                    requests.push(args.iter().map(|range| buf[range.clone()].to_vec()).collect());
                    buf.drain(..taken);
                }
                Ok(None) => break,
                Err(error) => return (requests, Some(error)),
            }
        }
    }
    (requests, None)
}

/// The arguments of the requests of a stream that arrives at once, those without arguments left out.
fn words(stream: &[u8]) -> Vec<Request> {
    let (requests, error) = parse(stream, &[], LIMITS);
    assert_eq!(error, None);
    requests.into_iter().filter(|request| !request.is_empty()).collect()
}

fn error(stream: &[u8]) -> String {
    parse(stream, &[], LIMITS).1.expect("an error").to_string()
}

fn request(args: &[&str]) -> Request {
    args.iter().map(|arg| arg.as_bytes().to_vec()).collect()
}

fn array(args: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

#[test]
fn arrays_and_lines_may_be_mixed() {
    let stream = b"PING\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n\r\n*0\r\n*-1\r\nSET a b\n*1\r\n$0\r\n\r\n";
    assert_eq!(
        words(stream),
        [request(&["PING"]), request(&["GET", "a"]), request(&["SET", "a", "b"]), request(&[""])]
    );
}

#[test]
fn lines_are_split_as_in_a_shell() {
    for (line, expected) in [
        ("  SET  a\tb  ", &["SET", "a", "b"][..]),
        (r#"set "a b" 'c d'"#, &["set", "a b", "c d"]),
        (r#"set "\x41\n\t\"\\" '\'x\n'"#, &["set", "A\n\t\"\\", r"'x\n"]),
        (r#"set """#, &["set", ""]),
        (r#"se"t "x y"#, &["set x", "y"]),
        (r#""\xZZ""#, &["xZZ"]),
        ("a\0b c", &["a"]),
        ("", &[]),
    ] {
        let expected: Vec<Request> = if expected.is_empty() { Vec::new() } else { vec![request(expected)] };
        if line == r#"se"t "x y"# {
            // A quote that closes inside a word is not followed by a space.
            assert_eq!(error(format!("{line}\r\n").as_bytes()), "Protocol error: unbalanced quotes in request");
        } else {
            assert_eq!(words(format!("{line}\r\n").as_bytes()), expected, "{line}");
        }
    }
    assert_eq!(words(b"ab\"c d\" e\r\n"), [request(&["abc d", "e"])]);
}

#[test]
fn malformed_input_is_named_as_in_redis() {
    for (stream, expected) in [
        (&b"*x\r\n"[..], "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"*01\r\n", "invalid multibulk length"),
        (b"*99999999999999999999\r\n", "invalid multibulk length"),
        (b"*1025\r\n", "invalid multibulk length"),
        (b"*1\r\n+3\r\n", "expected '$', got '+'"),
        (b"*1\r\n\r\n", "expected '$', got ' '"),
        (b"*1\r\n$x\r\n", "invalid bulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$100001\r\n", "invalid bulk length"),
        (b"*1\r\n$\r\n", "invalid bulk length"),
        (b"set \"a\r\n", "unbalanced quotes in request"),
        (b"set 'a\r\n", "unbalanced quotes in request"),
        (b"set \"a\"b\r\n", "unbalanced quotes in request"),
    ] {
        assert_eq!(error(stream), format!("Protocol error: {expected}"), "{}", String::from_utf8_lossy(stream));
    }
    let many = |head: &[u8]| [head, &vec![b'1'; 70_000][..]].concat();
    assert_eq!(error(&many(b"")), "Protocol error: too big inline request");
    assert_eq!(error(&many(b"*")), "Protocol error: too big mbulk count string");
    assert_eq!(error(&many(b"*1\r\n$")), "Protocol error: too big bulk count string");
    let big = array(&vec![vec![b'x'; 90_000]; 3]);
    assert_eq!(error(&big), "Protocol error: too big request");
}

#[test]
fn strangers_get_less_room() {
    let mut parser = Parser::new(LIMITS);
    parser.set_authenticated(false);
    let mut args = Vec::new();
    assert_eq!(parser.next(&mut b"*11\r\n".to_vec(), &mut args), Err(ProtocolError::UnauthenticatedMultibulk));
    let mut parser = Parser::new(LIMITS);
    parser.set_authenticated(false);
    let mut stream = b"*10\r\n$16385\r\n".to_vec();
    assert_eq!(parser.next(&mut stream, &mut args), Err(ProtocolError::UnauthenticatedBulk));
}

/// Whether a request has been begun and not ended.
fn is_inside_request(parser: &Parser) -> bool {
    parser.step != Step::Start || parser.scanned > 0
}

#[test]
fn a_big_value_in_small_pieces_is_looked_at_once() {
    let limits = RequestLimits::for_values_of(16 << 20);
    let stream = array(&[b"SET".to_vec(), b"k".to_vec(), vec![b'\r'; 16 << 20]]);
    let mut parser = Parser::new(limits);
    let mut args = Vec::new();
    let mut buf = stream.clone();
    let mut arrived = 4096;
    while arrived < stream.len() {
        assert_eq!(parser.next(&mut buf[..arrived], &mut args), Ok(None));
        assert!(is_inside_request(&parser));
        assert_eq!(parser.scanned, 0, "the value itself is never searched");
        arrived += 4096;
    }
    assert_eq!(parser.next(&mut buf, &mut args), Ok(Some(stream.len())));
    assert_eq!(args.len(), 3);
    assert!(!is_inside_request(&parser));
}

#[test]
fn a_claimed_length_reserves_nothing() {
    let limits = RequestLimits { args: 1024 * 1024, ..LIMITS };
    let mut parser = Parser::new(limits);
    let mut args = Vec::new();
    assert_eq!(parser.next(&mut b"*1048576\r\n$5\r\nab".to_vec(), &mut args), Ok(None));
    assert!(args.capacity() + parser.partial.capacity() <= 2 * RESERVED_ARGS);
}

/// A request in one of its two forms, and its arguments.
fn any_request() -> impl Strategy<Value = (Vec<u8>, Request)> {
    let args = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8);
    let words = prop::collection::vec("[a-z]{1,9}", 1..6);
    prop_oneof![
        args.prop_map(|args| (array(&args), args)),
        words.prop_map(|words| {
            let line = format!("{}\r\n", words.join(" "));
            (line.into_bytes(), words.into_iter().map(String::into_bytes).collect())
        }),
    ]
}

proptest! {
    #[test]
    fn the_cuts_of_a_stream_do_not_matter(
        requests in prop::collection::vec(any_request(), 0..12),
        mut cuts in prop::collection::vec(0usize..2000, 0..30),
    ) {
        cuts.sort_unstable();
        let stream: Vec<u8> = requests.iter().flat_map(|(bytes, _)| bytes.iter().copied()).collect();
        let expected: Vec<Request> = requests.into_iter().map(|(_, args)| args).collect();
        prop_assert_eq!(parse(&stream, &cuts, LIMITS), (expected, None));
    }

    #[test]
    fn random_bytes_mean_the_same_however_they_are_cut(
        stream in prop::collection::vec(prop_oneof![
            4 => prop::sample::select(b"*$0123\r\n\"'\\x -a".to_vec()), 1 => any::<u8>()
        ], 0..300),
        mut cuts in prop::collection::vec(0usize..300, 0..30),
    ) {
        cuts.sort_unstable();
        let tight = RequestLimits { args: 20, bulk_bytes: 50, line_bytes: 40, request_bytes: 100 };
        prop_assert_eq!(parse(&stream, &cuts, tight), parse(&stream, &[], tight));
    }

    #[test]
    fn every_byte_on_its_own(stream in any_request()) {
        let cuts: Vec<usize> = (1..stream.0.len()).collect();
        prop_assert_eq!(parse(&stream.0, &cuts, LIMITS), (vec![stream.1], None));
    }
}
