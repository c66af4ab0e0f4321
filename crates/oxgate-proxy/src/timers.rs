//! Deadlines: one slot per connection, a plain store to move one.
//!
//! A slot's deadline is looked at only when the tick it was armed for comes round; a deadline that
//! was moved back meanwhile is armed anew then. So an exchange that ends in time, and each that
//! follows on its connection, costs a store.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

/// Length of a tick. Deadlines are kept to the next tick.
const TICK_US: u64 = 5_000;
const NEVER: u64 = u64::MAX;
/// How many ticks ahead a slot is armed at the most. A deadline that is moved nearer leaves an entry
/// behind, which is forgotten when its tick comes: so it had better come soon.
const AHEAD: u64 = 800;

#[derive(Debug, Default)]
pub(crate) struct Timers(RefCell<Wheel>);

#[derive(Debug, Default)]
struct Wheel {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Slots by the tick at which they are looked at, with the generation they were armed in.
    ticks: BTreeMap<u64, Vec<(u32, u32)>>,
    /// The tick of the last look.
    now: u64,
}

/// One cache line, not parts of two.
#[derive(Debug)]
#[repr(align(64))]
struct Slot {
    deadline: u64,
    armed: u64,
    generation: u32,
    expired: bool,
    /// Asked to make room for others; stays so until the slot is released.
    shed: bool,
    /// Since when the connection has waited for nothing but another request; `NEVER` when it does not.
    idle_since: u64,
    /// What the connection has in common with others of which one may make room for another.
    group: usize,
    waker: Option<Waker>,
}

impl Slot {
    fn new(generation: u32, group: usize) -> Slot {
        let (deadline, armed, idle_since) = (NEVER, NEVER, NEVER);
        Slot { deadline, armed, generation, expired: false, shed: false, idle_since, group, waker: None }
    }
}

/// A slot's number; whoever holds it gives it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerId(u32);

impl Timers {
    /// Has a slot wake the current task.
    pub(crate) fn watch(&self, id: TimerId, cx: &Context<'_>) {
        self.0.borrow_mut().slots[id.0 as usize].waker = Some(cx.waker().clone());
    }

    /// A slot of a group, which wakes nobody yet.
    pub(crate) fn register(&self, group: usize) -> TimerId {
        let mut wheel = self.0.borrow_mut();
        if let Some(id) = wheel.free.pop() {
            let slot = &mut wheel.slots[id as usize];
            *slot = Slot::new(slot.generation.wrapping_add(1), group);
            return TimerId(id);
        }
        wheel.slots.push(Slot::new(0, group));
        TimerId(wheel.slots.len() as u32 - 1)
    }

    pub(crate) fn release(&self, id: TimerId) {
        let mut wheel = self.0.borrow_mut();
        let slot = &mut wheel.slots[id.0 as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.waker = None;
        slot.idle_since = NEVER;
        wheel.free.push(id.0);
    }

    /// Sets the deadline, in the clock's microseconds; `u64::MAX` is none.
    #[inline]
    pub(crate) fn set(&self, id: TimerId, deadline_us: u64) {
        self.set_both(id, NEVER, deadline_us);
    }

    /// Sets the deadline of a connection that waits, since a time, for nothing but another request.
    #[inline]
    pub(crate) fn set_idle(&self, id: TimerId, since_us: u64, deadline_us: u64) {
        self.set_both(id, since_us, deadline_us);
    }

    #[inline]
    fn set_both(&self, id: TimerId, idle_since: u64, deadline_us: u64) {
        let tick = if deadline_us == NEVER { NEVER } else { deadline_us.div_ceil(TICK_US) };
        let mut wheel = self.0.borrow_mut();
        let slot = &mut wheel.slots[id.0 as usize];
        slot.deadline = tick;
        slot.expired = false;
        slot.idle_since = idle_since;
        if tick < slot.armed {
            wheel.arm(id.0, tick);
        }
    }

    /// Whether the connection should end to make room for others.
    #[inline]
    pub(crate) fn is_shed(&self, id: TimerId) -> bool {
        self.0.borrow().slots[id.0 as usize].shed
    }

    /// Whether the deadline has passed.
    #[inline]
    pub(crate) fn expired(&self, id: TimerId) -> bool {
        self.0.borrow().slots[id.0 as usize].expired
    }

    /// Ends the waiting of up to `most` idle connections, the longest idle first, of one group if one is
    /// given; says how many. It looks at every slot, so ask for several.
    pub(crate) fn shed_idle(&self, group: Option<usize>, most: usize) -> usize {
        let mut wheel = self.0.borrow_mut();
        let may_go = |s: &Slot| s.idle_since != NEVER && !s.shed && group.is_none_or(|group| group == s.group);
        let slots = wheel.slots.iter().enumerate();
        let mut idle: Vec<_> = slots.filter(|(_, s)| may_go(s)).map(|(i, s)| (s.idle_since, i)).collect();
        if idle.len() > most {
            idle.select_nth_unstable(most);
            idle.truncate(most);
        }
        for (_, i) in &idle {
            let slot = &mut wheel.slots[*i];
            slot.shed = true;
            slot.expire();
        }
        idle.len()
    }

    /// Wakes every connection, for a change that all of them must see.
    pub(crate) fn wake_all(&self) {
        for slot in &self.0.borrow().slots {
            if let Some(waker) = &slot.waker {
                waker.wake_by_ref();
            }
        }
    }

    /// Waits until a time of the clock.
    pub(crate) async fn sleep_until(&self, deadline_us: u64) {
        let slot = Sleep { timers: self, id: self.register(0) };
        self.set(slot.id, deadline_us);
        poll_fn(|cx| {
            if self.expired(slot.id) {
                return Poll::Ready(());
            }
            self.watch(slot.id, cx);
            Poll::Pending
        })
        .await;
    }

    /// Expires the slots whose time has come.
    #[inline]
    pub(crate) fn fire(&self, now_us: u64) {
        self.0.borrow_mut().fire(now_us / TICK_US);
    }

    /// How long nothing has to be looked at; `None` when there is nothing to look at.
    pub(crate) fn patience_us(&self, now_us: u64) -> Option<u64> {
        self.0.borrow().ticks.first_key_value().map(|(tick, _)| (tick * TICK_US).saturating_sub(now_us))
    }
}

/// A slot for one wait.
struct Sleep<'a> {
    timers: &'a Timers,
    id: TimerId,
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        self.timers.release(self.id);
    }
}

impl Wheel {
    fn arm(&mut self, id: u32, deadline: u64) {
        let tick = deadline.min(self.now + AHEAD);
        let slot = &mut self.slots[id as usize];
        slot.armed = tick;
        self.ticks.entry(tick).or_default().push((id, slot.generation));
    }

    /// Looks at every slot whose tick has come.
    fn fire(&mut self, now: u64) {
        self.now = now;
        while let Some(entry) = self.ticks.first_entry().filter(|e| *e.key() <= now) {
            let (tick, due) = entry.remove_entry();
            for (id, generation) in due {
                let slot = &mut self.slots[id as usize];
                if slot.generation != generation || slot.armed != tick {
                    continue;
                }
                slot.armed = NEVER;
                if slot.deadline <= now {
                    slot.expire();
                } else if slot.deadline != NEVER {
                    let deadline = slot.deadline;
                    self.arm(id, deadline);
                }
            }
        }
    }
}

impl Slot {
    fn expire(&mut self) {
        self.expired = true;
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timers() -> (Timers, TimerId) {
        let timers = Timers::default();
        let id = timers.register(1);
        (timers, id)
    }

    #[test]
    fn a_deadline_moved_back_is_kept_at_its_new_time() {
        let (timers, id) = timers();
        timers.set(id, 10 * TICK_US);
        timers.set(id, 30 * TICK_US);
        timers.fire(20 * TICK_US);
        assert_eq!(timers.patience_us(20 * TICK_US), Some(10 * TICK_US));
        assert!(!timers.expired(id));
        timers.fire(30 * TICK_US);
        assert_eq!(timers.patience_us(30 * TICK_US), None);
        assert!(timers.expired(id));
    }

    #[test]
    fn a_deadline_moved_forward_is_kept_at_its_new_time() {
        let (timers, id) = timers();
        timers.set(id, 30 * TICK_US);
        timers.set(id, 10 * TICK_US);
        timers.fire(10 * TICK_US);
        assert!(timers.expired(id));
        timers.set(id, 50 * TICK_US);
        timers.fire(40 * TICK_US);
        assert!(!timers.expired(id));
    }

    #[test]
    fn no_deadline_is_never_looked_at() {
        let (timers, id) = timers();
        timers.set(id, 10 * TICK_US);
        timers.set(id, u64::MAX);
        timers.fire(20 * TICK_US);
        assert_eq!(timers.patience_us(20 * TICK_US), None);
        assert!(!timers.expired(id));
    }

    #[test]
    fn a_released_slot_does_not_expire_its_successor() {
        let (timers, id) = timers();
        timers.set(id, 10 * TICK_US);
        timers.release(id);
        let next = timers.register(2);
        assert_eq!(next, id);
        timers.fire(10 * TICK_US);
        assert!(!timers.expired(next));
    }

    #[test]
    fn far_deadlines_leave_nothing_behind_for_long() {
        let (timers, id) = timers();
        for now in 0..5_000 {
            timers.set(id, (now + 700_000) * TICK_US);
            timers.set(id, (now + 20) * TICK_US);
            timers.fire(now * TICK_US);
        }
        let entries: usize = timers.0.borrow().ticks.values().map(Vec::len).sum();
        assert!(entries < 100, "{entries} entries");
        timers.set(id, 10_000 * TICK_US);
        timers.fire(9_999 * TICK_US);
        assert!(!timers.expired(id));
        while timers.patience_us(10_000 * TICK_US).is_some() {
            timers.fire(10_000 * TICK_US);
        }
        assert!(timers.expired(id));
    }

    #[test]
    fn the_longest_idle_go_first() {
        let (timers, first) = timers();
        let second = timers.register(2);
        // The one with the nearer deadline has been idle for less.
        timers.set_idle(first, 1, 20 * TICK_US);
        timers.set_idle(second, 2, 10 * TICK_US);
        assert_eq!(timers.shed_idle(Some(2), 0), 0);
        assert_eq!(timers.shed_idle(None, 1), 1);
        assert!(timers.is_shed(first) && !timers.is_shed(second));
        timers.set(first, 30 * TICK_US);
        assert!(timers.is_shed(first), "a new deadline saved it");
        assert_eq!(timers.shed_idle(Some(1), 9), 0, "another group's was taken");
    }
}
