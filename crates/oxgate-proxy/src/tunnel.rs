//! An upgraded connection: bytes both ways until both sides are done.

use crate::exchange::Exchange;
use crate::front::Downstream;
use crate::pump::Pump;
use crate::serve::Next;
use crate::snapshot::TimeoutsUs;
use crate::socket::Socket;
use crate::upstream::Connection;
use crate::worker::Worker;
use oxgate_http::{Framing, websocket};
use oxgate_telemetry::Reason;
use std::future::poll_fn;
use std::task::{Context, Poll};

/// Sends the 101 and then relays; a side that ends is ended on the other side too.
pub(crate) async fn run(
    w: &Worker,
    x: &mut Exchange,
    down: &mut Downstream,
    connection: &mut Connection,
    interim: Vec<u8>,
    timeouts: &TimeoutsUs,
) -> Next {
    let mut head = interim;
    x.response.write_head(Framing::None, Some("Upgrade"), &mut head);
    let mut to_client = Half::new(head);
    let mut to_upstream = Half::new(Vec::new());
    w.metrics.tunnels.add(1);
    down.set_deadline(w.clock.now_us().saturating_add(timeouts.tunnel_idle));
    let mut seen = u64::MAX;
    let mut upstream_first = false;
    let end = poll_fn(|cx| {
        // What a task may do in its turn is limited: neither direction may use it all up for ever.
        upstream_first = !upstream_first;
        let (mut a, mut b) = (End::Open, End::Open);
        for upstream in [upstream_first, !upstream_first] {
            if upstream {
                b = to_upstream.poll(cx, w, &mut down.wire, &mut connection.wire.socket);
            } else {
                a = to_client.poll(cx, w, &mut connection.wire, &mut down.wire.socket);
            }
        }
        if let (End::Done, End::Done) | (End::Broken, _) | (_, End::Broken) = (a, b) {
            return Poll::Ready(None);
        }
        if down.expired() {
            return Poll::Ready(Some(Reason::UpstreamIdleTimeout));
        }
        if w.drain_is_over() {
            return Poll::Ready(Some(Reason::ShuttingDown));
        }
        let moved = to_client.pump.moved + to_upstream.pump.moved;
        if moved != seen {
            seen = moved;
            down.set_deadline(w.clock.now_us().saturating_add(timeouts.tunnel_idle));
        }
        Poll::Pending
    })
    .await;
    if end == Some(Reason::ShuttingDown) {
        say_goodbye(w, &to_client, &mut down.wire.socket, &to_upstream, &mut connection.wire.socket).await;
    }
    w.metrics.tunnels.sub(1);
    x.reason = end;
    (x.bytes_out, x.bytes_in) = (to_client.pump.moved, to_upstream.pump.moved);
    Next::Close
}

/// Tells both sides that the gateway goes away (RFC 6455 §7.4.1), where that can be put between frames.
/// Who takes nothing more just sees the end.
async fn say_goodbye(w: &Worker, to_client: &Half, client: &mut Socket, to_upstream: &Half, upstream: &mut Socket) {
    let mask = (w.random() as u32).to_ne_bytes();
    poll_fn(|cx| {
        for (half, socket, frame) in [
            (to_client, &mut *client, &websocket::server_goes_away()[..]),
            (to_upstream, &mut *upstream, &websocket::client_goes_away(mask)[..]),
        ] {
            if half.end == End::Open && half.pump.is_between_frames() {
                let _ = socket.poll_write(cx, frame);
            }
            let _ = socket.poll_shutdown(cx);
        }
        Poll::Ready(())
    })
    .await;
}

/// One direction.
struct Half {
    pump: Pump,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    /// Everything is over; the end still has to be passed on.
    Ending,
    Done,
    Broken,
}

impl Half {
    fn new(head: Vec<u8>) -> Half {
        Half { pump: Pump::websocket(head), end: End::Open }
    }

    fn poll(&mut self, cx: &mut Context<'_>, w: &Worker, source: &mut crate::wire::Wire, sink: &mut Socket) -> End {
        if self.end == End::Open {
            self.end = match self.pump.poll(cx, &w.buffers, source, sink) {
                Poll::Ready(Ok(())) => End::Ending,
                Poll::Ready(Err(_)) => End::Broken,
                Poll::Pending => End::Open,
            };
        }
        if self.end == End::Ending {
            self.end = match sink.poll_shutdown(cx) {
                Poll::Ready(Ok(())) => End::Done,
                Poll::Ready(Err(_)) => End::Broken,
                Poll::Pending => End::Ending,
            };
        }
        self.end
    }
}
