//! The RESP parser: the same requests however the bytes are cut into pieces, and never more than the limits allow.
//!
//! The first byte chooses limits, the second the length of the pieces, the rest is the stream.

use store_master::protocol::resp::{Parser, ProtocolError, RequestLimits};

const SMALL: RequestLimits = RequestLimits { args: 8, bulk_bytes: 64, line_bytes: 48, request_bytes: 160 };
/// Streams of up to this length are cut at every place.
const CUT_EVERYWHERE: usize = 96;

type Request = Vec<Vec<u8>>;

/// Parses the stream in one piece, in small ones and in two, and compares.
pub(crate) fn run(data: &[u8]) {
    let Some((&[choice, piece], stream)) = data.split_first_chunk::<2>() else { return };
    let limits = if choice & 1 == 0 { SMALL } else { RequestLimits::for_values_of(1 << 20) };
    let parse = |pieces: &mut dyn Iterator<Item = &[u8]>| parse(pieces, limits, choice & 2 == 0);
    let whole = parse(&mut [stream].into_iter());
    let size = 1 + usize::from(piece % 32);
    assert_eq!(parse(&mut stream.chunks(size)), whole, "pieces of {size} bytes");
    if stream.len() <= CUT_EVERYWHERE {
        for cut in 0..=stream.len() {
            let (left, right) = stream.split_at(cut);
            assert_eq!(parse(&mut [left, right].into_iter()), whole, "cut at {cut}");
        }
    }
}

/// All requests of a stream that arrives in pieces, and the error that ends it.
fn parse(
    pieces: &mut dyn Iterator<Item = &[u8]>,
    limits: RequestLimits,
    authenticated: bool,
) -> (Vec<Request>, Option<ProtocolError>) {
    let mut parser = Parser::new(limits);
    parser.set_authenticated(authenticated);
    let (mut buf, mut args, mut requests) = (Vec::new(), Vec::new(), Vec::<Request>::new());
    for piece in pieces {
        // Exactly as long as what has arrived, so that a look beyond its end is one beyond an allocation.
        buf = [&buf[..], piece].concat();
        buf.shrink_to_fit();
        loop {
            match parser.next(&mut buf, &mut args) {
                Ok(Some(taken)) => {
                    assert!(taken > 0 && taken <= buf.len(), "{taken} of {} bytes", buf.len());
                    assert!(args.capacity() <= 64 + taken, "room for {} arguments", args.capacity());
                    requests.push(args.iter().map(|range| buf[..taken][range.clone()].to_vec()).collect());
                    check(requests.last().expect("one was added"), limits);
                    buf.drain(..taken);
                }
                Ok(None) => break,
                Err(error) => return (requests, Some(error)),
            }
        }
    }
    assert!(buf.len() <= limits.request_bytes + limits.bulk_bytes + limits.line_bytes, "{} bytes are kept", buf.len());
    (requests, None)
}

fn check(request: &[Vec<u8>], limits: RequestLimits) {
    assert!(request.len() <= limits.args.max(limits.line_bytes), "{} arguments", request.len());
    let longest = request.iter().map(Vec::len).max().unwrap_or_default();
    assert!(longest <= limits.bulk_bytes.max(limits.line_bytes), "an argument of {longest} bytes");
}
