//! What the commands of a transaction change beside the store, as it was before them. When the store undoes what they did, this does it here.

use crate::command::{Env, Session, session::Progress, tracking::Mode};

/// What is needed to put everything back.
pub(super) struct Savepoint {
    /// The client; `None` if the commands are only about keys.
    client: Option<Client>,
    notices: usize,
    settings_version: u64,
}

/// A client as it was.
struct Client {
    /// Without its subscriptions, which the worker notes the changes of.
    session: Session,
    tracking: Option<Mode>,
}

impl Savepoint {
    /// How everything is now, before commands that may be `only_keys`: those change nothing about their client. From here to
    /// [`Self::release`] or [`Self::restore`] nobody else's command is executed by this worker.
    pub(super) fn take(session: &mut Session, env: &Env<'_>, only_keys: bool) -> Self {
        let state = env.state;
        state.pubsub.begin();
        let client = (!only_keys).then(|| Client {
            session: session.without_subscriptions(),
            tracking: if session.tracks { state.tracking.mode(session.id) } else { None },
        });
        let settings_version = env.store.interest().settings_version();
        Self { client, notices: state.notices.len(), settings_version }
    }

    /// The transaction holds, and so does all that came with it.
    pub(super) fn release(self, env: &Env<'_>) {
        env.state.pubsub.commit();
    }

    /// The transaction was undone.
    pub(super) fn restore(self, session: &mut Session, env: &Env<'_>) {
        let state = env.state;
        match self.client {
            Some(before) => {
                let subscriptions = std::mem::take(&mut session.subscriptions);
                if session.monitors && !before.session.monitors {
                    state.monitors.remove(session.id);
                }
                *session = Session { subscriptions, ..before.session };
                state.tracking.restore(session.id, before.tracking);
            }
            // How far one of them came before it had to wait.
            None => session.progress = Progress::default(),
        }
        state.pubsub.revert(&mut session.subscriptions);
        state.notices.take_back(self.notices);
        state.monitors.forget();
        if env.store.interest().settings_version() != self.settings_version {
            // Whoever has read the settings meanwhile must read them again. If a stopped process keeps this worker from it now, it does so
            // before its next batch of requests.
            env.store.interest().note_settings();
            let _ = state.acl.refresh(&state.settings);
        }
    }
}
