//! What is sent to a client that did not ask for it just now: messages, in the order in which they came.
//!
//! A message that many are sent is encoded once and shared. The connection takes it over when its socket has room, behind the reply to whatever
//! it is executing. A client that does not take its messages is ended before they fill the memory, and holds up nobody else. Replies are
//! not counted here, however long they wait: the client asked for them, and `--output-limit` is what bounds them.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::VecDeque,
    rc::Rc,
    task::{Context, Waker},
};

use tokio::task::AbortHandle;

/// Bytes of messages that were not taken above which the client is ended at once.
const HARD_BYTES: usize = 32 << 20;
/// Bytes above which it is ended when they stay there for [`SOFT_MS`].
const SOFT_BYTES: usize = 8 << 20;
const SOFT_MS: u64 = 60_000;

/// How messages are written for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Resp2,
    Resp3,
    /// Server-sent events.
    Events,
}

impl Form {
    /// How many there are.
    pub(super) const COUNT: usize = 3;
}

/// The messages of one client.
pub(super) struct Mailbox {
    form: Cell<Form>,
    messages: RefCell<VecDeque<Rc<[u8]>>>,
    /// Bytes of `messages`.
    bytes: Cell<usize>,
    /// Bytes of messages that the connection has taken over and its client may not have taken.
    taken_over: Cell<usize>,
    over_soft_since_ms: Cell<Option<u64>>,
    waker: RefCell<Option<Waker>>,
    abort: OnceCell<AbortHandle>,
    ended: Cell<bool>,
    /// The client has subscribed to something.
    listens: Cell<bool>,
}

impl Mailbox {
    pub(super) fn new(form: Form) -> Self {
        Self {
            form: Cell::new(form),
            messages: RefCell::default(),
            bytes: Cell::new(0),
            taken_over: Cell::new(0),
            over_soft_since_ms: Cell::new(None),
            waker: RefCell::default(),
            abort: OnceCell::new(),
            ended: Cell::new(false),
            listens: Cell::new(false),
        }
    }

    /// The task that is aborted when the client is ended.
    pub(super) fn belongs_to(&self, task: AbortHandle) {
        let _ = self.abort.set(task);
    }

    pub(super) fn form(&self) -> Form {
        self.form.get()
    }

    pub(super) fn set_form(&self, form: Form) {
        self.form.set(form);
    }

    pub(super) fn listens(&self) -> bool {
        self.listens.get()
    }

    pub(super) fn set_listens(&self, listens: bool) {
        self.listens.set(listens);
    }

    /// Adds a message and wakes the connection; ends a client that has too many.
    pub(super) fn push(&self, message: &Rc<[u8]>, now_ms: u64) {
        if self.ended.get() {
            return;
        }
        self.bytes.set(self.bytes.get() + message.len());
        self.messages.borrow_mut().push_back(Rc::clone(message));
        if self.is_over(now_ms) {
            self.end();
        }
        self.wake();
    }

    /// Whether more is waiting for the client than may, now or for too long.
    pub(super) fn is_over(&self, now_ms: u64) -> bool {
        let waiting = self.bytes.get() + self.taken_over.get();
        if waiting <= SOFT_BYTES {
            self.over_soft_since_ms.set(None);
            return false;
        }
        let since = self.over_soft_since_ms.get().unwrap_or(now_ms);
        self.over_soft_since_ms.set(Some(since));
        waiting > HARD_BYTES || now_ms.saturating_sub(since) >= SOFT_MS
    }

    /// Ends the client: what waits for it is dropped, and its connection is closed.
    pub(super) fn end(&self) {
        self.ended.set(true);
        self.messages.borrow_mut().clear();
        self.bytes.set(0);
        if let Some(task) = self.abort.get() {
            task.abort();
        }
        self.wake();
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended.get()
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Has the task woken by the next message.
    pub(super) fn register(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.get() == 0
    }

    /// Moves messages to the end of `out` until that has `full` bytes.
    pub(super) fn take_into(&self, out: &mut Vec<u8>, full: usize) {
        let mut messages = self.messages.borrow_mut();
        while out.len() < full
            && let Some(message) = messages.pop_front()
        {
            self.bytes.set(self.bytes.get() - message.len());
            self.taken_over.set(self.taken_over.get() + message.len());
            out.extend_from_slice(&message);
        }
    }

    /// Notes how much is still with the connection, replies included: no more of its messages can be.
    pub(super) fn note_pending(&self, bytes: usize) {
        self.taken_over.set(self.taken_over.get().min(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: usize) -> Rc<[u8]> {
        vec![b'm'; len].into()
    }

    #[test]
    fn messages_are_taken_in_order_and_in_part() {
        let mailbox = Mailbox::new(Form::Resp2);
        for text in ["one", "two", "three"] {
            mailbox.push(&Rc::from(text.as_bytes()), 0);
        }
        let mut out = Vec::new();
        mailbox.take_into(&mut out, 4);
        assert_eq!((out.as_slice(), mailbox.is_empty()), (&b"onetwo"[..], false));
        mailbox.take_into(&mut out, usize::MAX);
        assert_eq!((out.as_slice(), mailbox.is_empty()), (&b"onetwothree"[..], true));
    }

    #[test]
    fn a_client_that_takes_nothing_is_ended_at_the_hard_limit() {
        let mailbox = Mailbox::new(Form::Resp2);
        let chunk = message(1 << 20);
        (0..32).for_each(|_| mailbox.push(&chunk, 0));
        assert!(!mailbox.is_ended());
        mailbox.push(&chunk, 0);
        assert!(mailbox.is_ended() && mailbox.is_empty());
        mailbox.push(&chunk, 0);
        assert!(mailbox.is_empty());
    }

    #[test]
    fn a_client_may_be_over_the_soft_limit_for_a_minute() {
        let mailbox = Mailbox::new(Form::Resp2);
        let take_over = || mailbox.take_into(&mut Vec::new(), usize::MAX);
        mailbox.push(&message(SOFT_BYTES), 0);
        take_over();
        mailbox.push(&message(1), 1000);
        mailbox.push(&message(1), 1000 + SOFT_MS - 1);
        assert!(!mailbox.is_ended());
        mailbox.note_pending(0);
        mailbox.push(&message(1), 1000 + SOFT_MS);
        mailbox.push(&message(SOFT_BYTES), 1000 + SOFT_MS);
        take_over();
        mailbox.push(&message(1), 2000 + SOFT_MS);
        assert!(!mailbox.is_ended());
        mailbox.push(&message(1), 2000 + 2 * SOFT_MS);
        assert!(mailbox.is_ended());
    }

    /// `MGET a a a` of 16 MB each, read slowly, was cut off in the middle by the limit on messages.
    #[test]
    fn replies_do_not_count_as_messages() {
        let mailbox = Mailbox::new(Form::Resp3);
        mailbox.push(&message(10), 0);
        mailbox.take_into(&mut Vec::new(), usize::MAX);
        mailbox.note_pending(10 + 2 * HARD_BYTES);
        mailbox.push(&message(10), 0);
        assert!(!mailbox.is_over(0) && !mailbox.is_over(2 * SOFT_MS));
    }
}
