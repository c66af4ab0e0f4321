//! The story of one request.

use crate::error::ProxyError;
use crate::exchange::Exchange;
use crate::forward::{self, Origin};
use crate::front::{Downstream, h1};
use crate::respond;
use crate::router::Found;
use crate::snapshot::Route;
use crate::worker::{View, Worker};
use crate::{identify, policies, record};
use oxgate_config::resolved::Action;
use oxgate_policy::Answer;
use oxgate_telemetry::Reason;
use std::rc::Rc;

/// What becomes of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It carries the next request.
    Keep,
    /// It is closed.
    Close,
    /// It is closed after the client has had time to take the answer.
    Linger,
}

/// Where a response comes from.
pub(crate) enum Reply {
    /// An upstream, whose head is in the exchange.
    Upstream,
    /// The gateway itself.
    Own(Box<Answer>),
    /// Nowhere: there is nobody left to answer.
    Nobody(ProxyError),
}

/// Serves one request, whose head was just read.
pub(crate) async fn serve(w: &Rc<Worker>, x: &mut Exchange, down: &mut Downstream) -> Next {
    let view = w.view();
    identify::client(w, &view, x, down);
    let route = find_route(&view, x);
    let mut origin = None;
    let next = match route {
        Ok(route) => {
            let reply = match policies::request(w, &view, route, x, down).await {
                Some(answer) => Reply::Own(answer),
                None => act(w, &view, route, x, down, &mut origin).await,
            };
            match reply {
                Reply::Upstream => forward::deliver(w, route, x, down, &mut origin).await,
                Reply::Own(answer) => respond::answer(w, Some(&route.chain), x, down, &answer).await,
                Reply::Nobody(error) => respond::nobody(x, error),
            }
        }
        Err(answer) => respond::answer(w, None, x, down, &answer).await,
    };
    record::exchange(w, &view, x);
    next
}

fn find_route<'v>(view: &'v View, x: &mut Exchange) -> Result<&'v Route, Box<Answer>> {
    match view.snapshot.router.find(&mut x.request) {
        Ok(Found::Route(index)) => {
            x.route = Some(index);
            Ok(&view.snapshot.routes[index])
        }
        Ok(Found::None) => Err(Answer::problem(404, Reason::NoRoute, "no route matches the request")),
        Ok(Found::OtherMethods(methods)) => {
            let detail = "no route matches the request with this method";
            Err(Answer::problem(405, Reason::MethodNotAllowed, detail).with("Allow", methods.join(", ")))
        }
        Err(error) => Err(h1::refusal(error)),
    }
}

async fn act(
    w: &Rc<Worker>,
    view: &View,
    route: &Route,
    x: &mut Exchange,
    down: &mut Downstream,
    origin: &mut Option<Origin>,
) -> Reply {
    match &route.action {
        Action::Proxy(arms) => match forward::request(w, view, route, arms, x, down, origin).await {
            Ok(()) => Reply::Upstream,
            Err(error) => respond::failure(route, x, error),
        },
        Action::Respond(fixed) => Reply::Own(respond::fixed(fixed, Reason::RouteResponse)),
        Action::Redirect(redirect) => Reply::Own(respond::redirect(redirect, &route.pattern, x)),
    }
}
