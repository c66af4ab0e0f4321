//! The worker's coarse clock: read once per turn of the event loop, not once per question.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A clock for one thread. Times are microseconds since the worker started.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// The calendar's time at the start, as the system's clock now sees it.
    wall_start_us: Cell<u64>,
    now_us: Cell<u64>,
    stale: Cell<bool>,
    asked: Cell<u32>,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the worker's clock")]
    pub(crate) fn new() -> Clock {
        let (start, zero) = (Instant::now(), Cell::default());
        let clock =
            Clock { start, wall_start_us: zero.clone(), now_us: zero, stale: Cell::new(true), asked: Cell::default() };
        clock.follow_calendar();
        clock
    }

    /// Takes the calendar's time from the system, which may have set its clock; called once a second.
    #[expect(clippy::disallowed_methods, reason = "this is the worker's clock")]
    pub(crate) fn follow_calendar(&self) {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let since_start = self.start.elapsed();
        self.wall_start_us.set(wall.saturating_sub(since_start).as_micros() as u64);
    }

    /// Has the time read anew; called when the event loop wakes up.
    #[inline]
    pub(crate) fn mark_stale(&self) {
        self.stale.set(true);
    }

    /// The time of this turn.
    #[inline]
    pub(crate) fn now_us(&self) -> u64 {
        // A loop that never rests never wakes up either: the clock must move all the same.
        let asked = self.asked.get().wrapping_add(1);
        self.asked.set(asked);
        if self.stale.replace(false) || asked.is_multiple_of(64) {
            self.now_us.set(self.start.elapsed().as_micros() as u64);
        }
        self.now_us.get()
    }

    /// The time by the calendar, microseconds since 1970.
    pub(crate) fn wall_us(&self) -> u64 {
        self.wall_start_us.get() + self.now_us()
    }
}
