//! Taking a request through its route's chain, with the calls that policies ask for.

use crate::chain::Step;
use crate::exchange::Exchange;
use crate::forward;
use crate::front::Downstream;
use crate::snapshot::Route;
use crate::worker::{View, Worker};
use oxgate_policy::Answer;

/// Gives the answer of the first policy that has one.
#[inline]
pub(crate) async fn request(
    w: &Worker,
    view: &View,
    route: &Route,
    x: &mut Exchange,
    down: &mut Downstream,
) -> Option<Box<Answer>> {
    let mut step = route.chain.request(x, &route.pattern, 0);
    loop {
        match step {
            Step::Done => return None,
            Step::Answer(answer) => return Some(answer),
            Step::Ask(position, call) => {
                let reply = Box::pin(forward::call(w, view, *call, down)).await;
                step = route.chain.reply(x, &route.pattern, position, reply);
            }
        }
    }
}
