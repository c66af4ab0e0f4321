//! Weighted turns: a sequence computed once, in which every index comes up in proportion to its
//! weight and as evenly spread as can be.

use std::cell::Cell;

/// The most turns in a sequence; larger weights are scaled down to fit.
const MAX_TURNS: u64 = 4096;

/// The sequence, shared by all workers.
#[derive(Debug, Default)]
pub(crate) struct Schedule(Box<[u16]>);

/// Where one worker stands in a sequence.
#[derive(Debug, Default)]
pub(crate) struct Turn(Cell<u32>);

impl Schedule {
    /// A sequence for these weights; empty when all are zero.
    pub(crate) fn new(weights: impl Iterator<Item = u32> + Clone) -> Schedule {
        let divisor = weights.clone().fold(0, |a, b| gcd(a, u64::from(b))).max(1);
        let total: u64 = weights.clone().map(u64::from).sum::<u64>() / divisor;
        let scale = total.div_ceil(MAX_TURNS).max(1);
        let weights: Vec<i64> = weights
            .map(|w| u64::from(w) / divisor)
            .map(|w| if w == 0 { 0 } else { (w / scale).max(1) as i64 })
            .collect();
        let total: i64 = weights.iter().sum();
        let mut current = vec![0; weights.len()];
        let turns = (0..total).filter_map(|_| {
            for (c, w) in current.iter_mut().zip(&weights) {
                *c += w;
            }
            let best = (0..weights.len()).filter(|i| weights[*i] > 0).max_by_key(|i| (current[*i], usize::MAX - i))?;
            current[best] -= total;
            Some(best as u16)
        });
        Schedule(turns.collect())
    }

    /// The index whose turn it is.
    #[inline]
    pub(crate) fn next(&self, turn: &Turn) -> Option<usize> {
        if self.0.len() == 1 {
            return Some(usize::from(self.0[0]));
        }
        let at = turn.0.get();
        turn.0.set(at.wrapping_add(1));
        self.0.get(at as usize % self.0.len().max(1)).map(|i| usize::from(*i))
    }
}

impl Schedule {
    /// The index whose turn it is among those that are `wanted`.
    pub(crate) fn next_of(&self, turn: &Turn, wanted: impl Fn(usize) -> bool) -> Option<usize> {
        (0..self.0.len()).filter_map(|_| self.next(turn)).find(|i| wanted(*i))
    }
}

impl Turn {
    /// A place to begin, so that workers do not all begin alike.
    pub(crate) fn starting_at(seed: u32) -> Turn {
        Turn(Cell::new(seed))
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_follow_the_weights_evenly() {
        assert_eq!(*Schedule::new([5, 1, 1].into_iter()).0, [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(*Schedule::new([100, 0, 100].into_iter()).0, [0, 2]);
        assert!(Schedule::new([0, 0].into_iter()).0.is_empty());
    }

    #[test]
    fn those_not_wanted_are_passed_over() {
        let (schedule, turn) = (Schedule::new([3, 1].into_iter()), Turn::default());
        for _ in 0..8 {
            assert_eq!(schedule.next_of(&turn, |i| i == 1), Some(1));
        }
        assert_eq!(schedule.next_of(&turn, |i| i == 2), None);
    }

    #[test]
    fn great_weights_keep_their_proportion() {
        let schedule = Schedule::new([1_000_003, 2_000_001].into_iter());
        let first = schedule.0.iter().filter(|i| **i == 0).count() as f64 / schedule.0.len() as f64;
        assert!((first - 1.0 / 3.0).abs() < 0.01 && schedule.0.len() <= MAX_TURNS as usize + 2);
    }
}
