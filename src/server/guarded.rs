//! A stream that knows when the head of a request has begun, so that its time can be limited without limiting how long a
//! connection lies idle.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// It waits for a request.
    Nothing,
    /// The head of a request has begun to arrive.
    Head(Instant),
    /// The request is being answered.
    Answering,
}

/// What a connection does, shared by the stream, the service and whoever limits the time.
#[derive(Clone, Debug)]
pub(super) struct Progress(Arc<watch::Sender<Doing>>);

/// A stream that reports to a [`Progress`].
#[derive(Debug)]
pub(super) struct Guarded<S> {
    stream: S,
    progress: Progress,
}

impl Progress {
    pub(super) fn new() -> Self {
        Progress(Arc::new(watch::Sender::new(Doing::Nothing)))
    }

    /// A head is complete: the request is being answered until the value that is returned is dropped.
    pub(super) fn answering(&self) -> impl Drop + use<> {
        struct Answering(Progress);
        impl Drop for Answering {
            fn drop(&mut self) {
                self.0.becomes(Doing::Nothing);
            }
        }
        self.becomes(Doing::Answering);
        Answering(self.clone())
    }

    /// Nobody is woken: who limits the time looks again when a head would be late.
    fn becomes(&self, now: Doing) {
        self.0.send_if_modified(|doing| {
            *doing = now;
            false
        });
    }

    fn bytes_have_come(&self) {
        self.0.send_if_modified(|doing| {
            let begins = *doing == Doing::Nothing;
            if begins {
                *doing = Doing::Head(Instant::now());
            }
            begins
        });
    }

    /// Comes back once a head has taken longer than `longest`.
    pub(super) async fn head_is_late(&self, longest: Duration) {
        let mut doing = self.0.subscribe();
        loop {
            let now = *doing.borrow_and_update();
            match now {
                Doing::Head(since) if since.elapsed() >= longest => return,
                // Later heads than this one are late later. So a connection that is busy costs a timer in `longest`, and
                // none for each request.
                Doing::Head(since) => sleep_until(since + longest).await,
                Doing::Nothing | Doing::Answering => {
                    // It fails only without a sender, and that lives in `self`.
                    let _ = doing.changed().await;
                }
            }
        }
    }

    pub(super) fn guard<S>(&self, stream: S) -> Guarded<S> {
        Guarded { stream, progress: self.clone() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.progress.bytes_have_come();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
