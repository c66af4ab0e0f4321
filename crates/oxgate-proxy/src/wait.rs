//! Waiting on behalf of a client: for something, or the deadline, or the client's going away.

use crate::error::ProxyError;
use crate::front::Downstream;
use crate::worker::Worker;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// A client's patience.
#[derive(Debug)]
pub(crate) struct Wait<'a> {
    down: &'a mut Downstream,
    /// When the exchange as a whole must be over.
    total_us: u64,
}

impl<'a> Wait<'a> {
    pub(crate) fn new(down: &'a mut Downstream, total_us: u64) -> Wait<'a> {
        Wait { down, total_us }
    }

    /// Sets the deadline of the next wait, in the worker's microseconds.
    pub(crate) fn set_deadline(&mut self, deadline_us: u64) {
        self.down.set_deadline(deadline_us.min(self.total_us));
    }

    /// Waits for the future; `late` is the error when the deadline passes first.
    pub(crate) async fn until<T>(
        &mut self,
        w: &Worker,
        late: ProxyError,
        future: impl Future<Output = Result<T, ProxyError>>,
    ) -> Result<T, ProxyError> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Poll::Ready(result) = future.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            if self.down.poll_gone(cx) {
                return Poll::Ready(Err(ProxyError::ClientGone));
            }
            if w.drain_is_over() {
                return Poll::Ready(Err(ProxyError::ShuttingDown));
            }
            if self.down.expired() {
                let total = w.clock.now_us() >= self.total_us;
                return Poll::Ready(Err(if total { ProxyError::TotalTimeout } else { late }));
            }
            Poll::Pending
        })
        .await
    }
}
