//! The policies of a route, compiled into one dense list per phase.

use crate::exchange::Exchange;
use crate::snapshot::CompiledPolicy;
use oxgate_config::pattern::PathPattern;
use oxgate_policy::{Answer, Ask, Reply, RequestView, ResponseView, Slot, Verdict};

#[derive(Debug, Default)]
pub(crate) struct Chain {
    policies: Vec<CompiledPolicy>,
    request: Box<[u16]>,
    /// Backwards.
    response: Box<[u16]>,
}

/// How far a request got in its chain.
#[derive(Debug)]
pub(crate) enum Step {
    /// Past the last policy.
    Done,
    /// A policy answered.
    Answer(Box<Answer>),
    /// The policy at this position wants a call first.
    Ask(usize, Ask),
}

impl Chain {
    pub(crate) fn compile(policies: Vec<CompiledPolicy>) -> Chain {
        let phase = |wants: fn(&CompiledPolicy) -> bool| -> Vec<u16> {
            (0..policies.len()).filter(|i| wants(&policies[*i])).map(|i| i as u16).collect()
        };
        let request = phase(|p| p.policy.phases().request);
        let mut response = phase(|p| p.policy.phases().response);
        response.reverse();
        Chain { request: request.into(), response: response.into(), policies }
    }

    /// Runs the request policies from a position on.
    #[inline]
    pub(crate) fn request(&self, x: &mut Exchange, pattern: &PathPattern, from: usize) -> Step {
        if self.request.is_empty() {
            return Step::Done;
        }
        self.prepare_slots(x);
        for (position, index) in self.request.iter().enumerate().skip(from) {
            let policy = &self.policies[usize::from(*index)].policy;
            match policy.on_request(&mut view(x, pattern, *index)) {
                Verdict::Next => {}
                Verdict::Answer(answer) => return Step::Answer(answer),
                Verdict::Ask(call) => return Step::Ask(position, call),
            }
        }
        Step::Done
    }

    /// Hands the reply to the policy that asked, then goes on behind it.
    pub(crate) fn reply(&self, x: &mut Exchange, pattern: &PathPattern, position: usize, reply: Reply) -> Step {
        let index = self.request[position];
        match self.policies[usize::from(index)].policy.on_reply(&mut view(x, pattern, index), reply) {
            Verdict::Next => self.request(x, pattern, position + 1),
            Verdict::Answer(answer) => Step::Answer(answer),
            Verdict::Ask(call) => Step::Ask(position, call),
        }
    }

    /// Runs the response policies, last one first.
    #[inline]
    pub(crate) fn response(&self, x: &mut Exchange) {
        if self.response.is_empty() {
            return;
        }
        self.prepare_slots(x);
        for index in &self.response {
            let index = usize::from(*index);
            self.policies[index].policy.on_response(&mut ResponseView {
                request: &x.request,
                response: &mut x.response,
                slot: &mut x.slots[index],
            });
        }
    }

    fn prepare_slots(&self, x: &mut Exchange) {
        if x.slots.len() < self.policies.len() {
            x.slots.resize(self.policies.len(), Slot::Empty);
        }
    }
}

fn view<'a>(x: &'a mut Exchange, pattern: &'a PathPattern, index: u16) -> RequestView<'a> {
    RequestView {
        client: x.client,
        scheme: x.scheme,
        pattern,
        slot: &mut x.slots[usize::from(index)],
        body_limit: &mut x.body_limit,
        request: &mut x.request,
    }
}
