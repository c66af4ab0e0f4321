//! Read buffers, lent by the worker to whoever holds bytes: an idle connection has none.

use oxgate_http::chunked::{HEADROOM, TAILROOM};
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::task::Poll;

/// What the beginning of a head needs that is slow to come.
const TINY: usize = 2 * 1024;
/// What heads and small bodies need.
pub(crate) const SMALL: usize = 16 * 1024;
/// What a head needs that a small buffer cannot hold.
const MEDIUM: usize = 60 * 1024;
/// What bodies that flow are read in: fewer, larger system calls.
const LARGE: usize = 512 * 1024;
/// Large buffers lent at once per worker; bodies beyond that flow in small ones. So what slow peers
/// leave unread holds a bounded amount of memory, however many they are.
const MAX_LARGE: usize = 64;
/// Free buffers kept per worker, of each size.
const KEPT: usize = 64;

/// The free buffers of a worker.
#[derive(Debug, Default)]
pub(crate) struct BufferPool {
    /// What sockets with nothing in hand are read into; it changes hands only when something came.
    spare: RefCell<Box<[u8]>>,
    tiny: RefCell<Vec<Box<[u8]>>>,
    small: RefCell<Vec<Box<[u8]>>>,
    medium: RefCell<Vec<Box<[u8]>>>,
    large: RefCell<Vec<Box<[u8]>>>,
    large_lent: Cell<usize>,
    staging: RefCell<Vec<Vec<u8>>>,
}

impl BufferPool {
    fn take(&self, size: usize) -> Box<[u8]> {
        if size == LARGE {
            self.large_lent.set(self.large_lent.get() + 1);
        }
        let free = self.free(size).borrow_mut().pop();
        free.unwrap_or_else(|| vec![0; HEADROOM + size + TAILROOM].into_boxed_slice())
    }

    /// What a body that flows is read into.
    fn take_for_flow(&self) -> Box<[u8]> {
        self.take(if self.large_lent.get() < MAX_LARGE { LARGE } else { SMALL })
    }

    fn put(&self, bytes: Box<[u8]>) {
        if bytes.is_empty() {
            return;
        }
        let size = bytes.len() - HEADROOM - TAILROOM;
        if size == LARGE {
            self.large_lent.set(self.large_lent.get() - 1);
        }
        let mut free = self.free(size).borrow_mut();
        if free.len() < KEPT {
            free.push(bytes);
        }
    }

    /// Gives half of the larger free buffers back; called once a second, so that a rush is soon forgotten.
    pub(crate) fn shrink(&self) {
        for free in [&self.tiny, &self.small, &self.medium, &self.large] {
            let mut free = free.borrow_mut();
            let kept = free.len() / 2;
            free.truncate(kept);
        }
    }

    fn free(&self, size: usize) -> &RefCell<Vec<Box<[u8]>>> {
        match size {
            TINY => &self.tiny,
            SMALL => &self.small,
            MEDIUM => &self.medium,
            _ => &self.large,
        }
    }

    /// An empty buffer to put a message together in.
    #[inline]
    pub(crate) fn take_staging(&self) -> Vec<u8> {
        self.staging.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(SMALL))
    }

    #[inline]
    pub(crate) fn put_staging(&self, mut bytes: Vec<u8>) {
        let mut free = self.staging.borrow_mut();
        if free.len() < KEPT && bytes.capacity() > 0 && bytes.capacity() <= 4 * SMALL {
            bytes.clear();
            free.push(bytes);
        }
    }
}

/// Bytes received and not yet used, with room around them for [`oxgate_http::chunked::wrap`].
#[derive(Debug)]
pub(crate) struct Buffer {
    pool: Rc<BufferPool>,
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    /// The last read filled the buffer: more is waiting, so read more at once next time.
    flowing: bool,
}

impl Buffer {
    pub(crate) fn new(pool: &Rc<BufferPool>) -> Buffer {
        Buffer { pool: Rc::clone(pool), bytes: Box::default(), start: 0, end: 0, flowing: false }
    }

    #[inline]
    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether no more can be read before some of it is used.
    pub(crate) fn is_full(&self) -> bool {
        !self.is_empty() && self.start == HEADROOM && self.end + TAILROOM == self.bytes.len()
    }

    #[inline]
    pub(crate) fn consume(&mut self, n: usize) {
        self.start += n;
    }

    /// Passes over empty lines in front of a request (RFC 9112 §2.2); true when there is nothing else.
    pub(crate) fn skip_empty_lines(&mut self) -> bool {
        while self.filled().starts_with(b"\r\n") {
            self.consume(2);
        }
        self.is_empty()
    }

    /// Bytes with the room around them, and where the unused ones lie.
    pub(crate) fn parts(&mut self) -> (&mut [u8], Range<usize>) {
        (&mut self.bytes, self.start..self.end)
    }

    pub(crate) fn slice(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// Reads into an empty buffer: memory is taken only when `read` finds something.
    #[inline]
    pub(crate) fn fill_empty<E>(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> Poll<Result<usize, E>>,
    ) -> Poll<Result<usize, E>> {
        let mut spare = self.pool.spare.borrow_mut();
        if spare.is_empty() {
            *spare = self.pool.take(SMALL);
        }
        let limit = spare.len() - TAILROOM;
        let result = read(&mut spare[HEADROOM..limit]);
        if let Poll::Ready(Ok(n)) = result
            && n > 0
        {
            self.bytes = std::mem::take(&mut *spare);
            drop(spare);
            (self.start, self.end) = (HEADROOM, HEADROOM);
            self.extend(n);
        }
        result
    }

    /// Whether nothing is held, not even memory, and the next read need not be a large one.
    #[inline]
    pub(crate) fn is_bare(&self) -> bool {
        self.bytes.is_empty() && !self.flowing
    }

    /// Room to read into; never empty unless [`Buffer::is_full`].
    #[inline]
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.is_empty() {
            if self.bytes.is_empty() || (self.flowing && self.bytes.len() < LARGE) {
                self.pool.put(std::mem::take(&mut self.bytes));
                self.bytes = if self.flowing { self.pool.take_for_flow() } else { self.pool.take(SMALL) };
            }
            (self.start, self.end) = (HEADROOM, HEADROOM);
        } else if self.end + TAILROOM == self.bytes.len() && self.start > HEADROOM {
            self.bytes.copy_within(self.start..self.end, HEADROOM);
            self.end = HEADROOM + self.end - self.start;
            self.start = HEADROOM;
        }
        let limit = self.bytes.len() - TAILROOM;
        &mut self.bytes[self.end..limit]
    }

    #[inline]
    pub(crate) fn extend(&mut self, n: usize) {
        self.end += n;
        self.flowing = self.end + TAILROOM == self.bytes.len();
    }

    /// Moves the bytes into a larger buffer, for a head that this one cannot hold.
    pub(crate) fn grow(&mut self) {
        match self.bytes.len() {
            LARGE.. => {}
            MEDIUM.. => self.change(LARGE),
            SMALL.. => self.change(MEDIUM),
            _ => self.change(SMALL),
        }
    }

    /// Moves a few bytes into a buffer of their size: what they are the beginning of may be long in coming.
    pub(crate) fn settle(&mut self) {
        if !self.is_empty() && self.end - self.start < TINY && self.bytes.len() > SMALL {
            self.change(TINY);
        }
    }

    fn change(&mut self, size: usize) {
        let mut other = self.pool.take(size);
        let len = self.end - self.start;
        other[HEADROOM..HEADROOM + len].copy_from_slice(&self.bytes[self.start..self.end]);
        self.pool.put(std::mem::replace(&mut self.bytes, other));
        (self.start, self.end, self.flowing) = (HEADROOM, HEADROOM + len, false);
    }

    /// Gives the memory back when there is nothing in it.
    #[inline]
    pub(crate) fn release(&mut self) {
        if self.is_empty() && !self.bytes.is_empty() {
            self.pool.put(std::mem::take(&mut self.bytes));
            (self.start, self.end) = (0, 0);
        }
    }

    /// Gives the memory back with whatever is in it.
    pub(crate) fn discard(&mut self) {
        self.start = self.end;
        self.release();
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.discard();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(buffer: &mut Buffer) {
        let n = buffer.room().len();
        buffer.extend(n);
    }

    #[test]
    fn what_is_slow_to_come_moves_to_a_buffer_of_its_size_and_back() {
        let pool = Rc::default();
        let mut buffer = Buffer::new(&pool);
        buffer.settle();
        assert!(buffer.is_bare());
        buffer.room()[..3].copy_from_slice(b"GET");
        buffer.extend(3);
        buffer.settle();
        assert_eq!(buffer.filled(), b"GET");
        assert_eq!(buffer.room().len(), TINY - 3);
        read(&mut buffer);
        assert!(buffer.is_full());
        buffer.settle();
        buffer.grow();
        assert_eq!((buffer.filled().len(), buffer.room().len()), (TINY, SMALL - TINY));
        assert!(buffer.filled().starts_with(b"GET"));
    }

    #[test]
    fn a_body_that_flows_is_read_in_large_pieces_as_long_as_there_are_few() {
        let pool = Rc::default();
        let mut flows: Vec<_> = (0..MAX_LARGE + 2).map(|_| Buffer::new(&pool)).collect();
        for flow in &mut flows {
            read(flow);
            assert_eq!(flow.filled().len(), SMALL, "the first read");
            flow.consume(SMALL);
            read(flow);
        }
        let sizes = flows.iter().map(|flow| flow.filled().len());
        assert_eq!(sizes.clone().filter(|size| *size == LARGE).count(), MAX_LARGE);
        assert_eq!(sizes.filter(|size| *size == SMALL).count(), 2);
        // One that ends, with whatever is in it, makes room for another.
        drop(flows.remove(0));
        let last = flows.last_mut().expect("there are some");
        last.consume(SMALL);
        read(last);
        assert_eq!(last.filled().len(), LARGE);
    }
}
