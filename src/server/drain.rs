//! The end of a worker: what runs is finished, what is idle is closed, and nothing takes longer than `--drain-timeout`.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use super::{hub::Hub, roster::Phase};

/// Between two looks at what still runs.
const PAUSE: Duration = Duration::from_millis(2);
/// Turns of the loop that ended connections get to let go of what they hold.
const LAST_TURNS: u32 = 64;

/// Ends every connection; the listeners are closed already.
pub(super) async fn run(hub: &Rc<Hub>) {
    hub.start_draining();
    let deadline = Instant::now() + hub.config.drain_timeout;
    while hub.roster.len() > 0 && Instant::now() < deadline {
        hub.roster.end(0, |phase, _, _| matches!(phase, Phase::Idle | Phase::Head | Phase::Held | Phase::Listening));
        tokio::time::sleep(PAUSE).await;
    }
    let cut_off = hub.roster.end(0, |_, _, _| true);
    if cut_off > 0 {
        tracing::warn!(worker = hub.index, connections = cut_off, "drain timeout: requests were cut off");
    }
    for _ in 0..LAST_TURNS {
        tokio::task::yield_now().await;
    }
}
