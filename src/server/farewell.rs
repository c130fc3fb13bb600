//! The last words to a client: they are out when it has read them, so the connection is not closed before.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

/// How long a client that was told the last may take to hang up.
const FAREWELL: Duration = Duration::from_secs(1);

/// Says that nothing more will come, and waits a little for the client to hang up: with anything that it sent still unread, closing the
/// connection would make its kernel throw away what it has not read yet.
pub(super) async fn see_off<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    let hung_up = async {
        stream.shutdown().await?;
        let mut ignored = [0; 4096];
        while stream.read(&mut ignored).await? > 0 {}
        io::Result::Ok(())
    };
    // Whether it hung up, broke off or took too long, it is gone.
    let _ = timeout(FAREWELL, hung_up).await;
}
