//! The worker's coarse clock: read once per turn of the event loop, not once per question.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

thread_local! {
    static STALE: Cell<bool> = const { Cell::new(true) };
}

/// Lets every clock of this thread read the time anew; called when the event loop wakes up.
pub(crate) fn mark_stale() {
    STALE.set(true);
}

/// A clock for one thread. Times are microseconds since the worker started.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// The calendar's time at the start, as the system's clock now sees it.
    wall_start_us: Cell<u64>,
    now_us: Cell<u64>,
    asked: Cell<u32>,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the worker's clock")]
    pub(crate) fn new() -> Clock {
        let (start, now_us, asked) = (Instant::now(), Cell::new(0), Cell::new(0));
        let clock = Clock { start, wall_start_us: Cell::new(0), now_us, asked };
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

    /// The time of this turn.
    #[inline]
    pub(crate) fn now_us(&self) -> u64 {
        // A loop that never rests never wakes up either: the clock must move all the same.
        let asked = self.asked.get().wrapping_add(1);
        self.asked.set(asked);
        if STALE.replace(false) || asked.is_multiple_of(64) {
            self.now_us.set(self.start.elapsed().as_micros() as u64);
        }
        self.now_us.get()
    }

    /// The time by the calendar, microseconds since 1970.
    pub(crate) fn wall_us(&self) -> u64 {
        self.wall_start_us.get() + self.now_us()
    }

    /// The instant that a time of this clock stands for.
    pub(crate) fn instant(&self, us: u64) -> Instant {
        self.start + Duration::from_micros(us)
    }
}
