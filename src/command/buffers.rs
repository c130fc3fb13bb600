//! Buffers that go round: a value is read into the one that the reply before has left.

use std::cell::RefCell;

use super::Reply;

/// Buffers that are kept.
const KEPT: usize = 64;
/// Bytes of capacity up to which one is kept.
const KEPT_BYTES: usize = 4096;

/// The spare buffers of a worker.
#[derive(Debug, Default)]
pub struct Buffers(RefCell<Vec<Vec<u8>>>);

impl Buffers {
    /// An empty buffer.
    #[inline]
    pub(crate) fn take(&self) -> Vec<u8> {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes the buffers of a reply that was written.
    #[inline]
    pub fn recycle(&self, reply: Reply) {
        match reply {
            Reply::Bulk(bytes) => self.keep(bytes),
            Reply::Array(items) => items.into_iter().for_each(|item| self.recycle(item)),
            _ => {}
        }
    }

    #[inline]
    fn keep(&self, mut buffer: Vec<u8>) {
        let mut kept = self.0.borrow_mut();
        if kept.len() < KEPT && (1..=KEPT_BYTES).contains(&buffer.capacity()) {
            buffer.clear();
            kept.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_go_round_and_are_empty() {
        let buffers = Buffers::default();
        buffers.recycle(Reply::Array(vec![Reply::Bulk(b"one".to_vec()), Reply::Int(1), Reply::Null]));
        let taken = buffers.take();
        assert!(taken.is_empty() && taken.capacity() >= 3);
        assert_eq!(buffers.take().capacity(), 0, "there was one");
        buffers.recycle(Reply::Bulk(vec![0; KEPT_BYTES + 1]));
        assert_eq!(buffers.take().capacity(), 0, "too large to be kept");
        (0..2 * KEPT).for_each(|_| buffers.recycle(Reply::Bulk(vec![0])));
        assert_eq!(buffers.0.borrow().len(), KEPT);
    }
}
