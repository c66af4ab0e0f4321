//! Read buffers, lent by the worker to whoever holds bytes: an idle connection has none.

use oxgate_http::chunked::{HEADROOM, TAILROOM};
use std::cell::RefCell;
use std::ops::Range;
use std::task::Poll;

/// What heads and small bodies need.
pub(crate) const SMALL: usize = 16 * 1024;
/// What a head needs that a small buffer cannot hold.
const MEDIUM: usize = 60 * 1024;
/// What bodies that flow are read in: fewer, larger system calls.
pub(crate) const LARGE: usize = 256 * 1024;
/// Free buffers kept per worker, of each size.
const KEPT: usize = 64;

/// The free buffers of a worker.
#[derive(Debug, Default)]
pub(crate) struct BufferPool {
    /// What sockets with nothing in hand are read into; it changes hands only when something came.
    spare: RefCell<Box<[u8]>>,
    small: RefCell<Vec<Box<[u8]>>>,
    medium: RefCell<Vec<Box<[u8]>>>,
    large: RefCell<Vec<Box<[u8]>>>,
    staging: RefCell<Vec<Vec<u8>>>,
}

impl BufferPool {
    fn take(&self, size: usize) -> Box<[u8]> {
        let free = self.free(size);
        free.borrow_mut().pop().unwrap_or_else(|| vec![0; HEADROOM + size + TAILROOM].into_boxed_slice())
    }

    fn put(&self, bytes: Box<[u8]>) {
        let mut free = self.free(bytes.len().saturating_sub(HEADROOM + TAILROOM)).borrow_mut();
        if free.len() < KEPT && !bytes.is_empty() {
            free.push(bytes);
        }
    }

    /// Gives half of the larger free buffers back; called once a second, so that a rush is soon forgotten.
    pub(crate) fn shrink(&self) {
        for free in [&self.small, &self.medium, &self.large] {
            let mut free = free.borrow_mut();
            let kept = free.len().div_ceil(2);
            free.truncate(kept);
        }
    }

    fn free(&self, size: usize) -> &RefCell<Vec<Box<[u8]>>> {
        match size {
            0..=SMALL => &self.small,
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
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    /// The last read filled the buffer: more is waiting, so read more at once next time.
    flowing: bool,
}

impl Buffer {
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
        pool: &BufferPool,
        read: impl FnOnce(&mut [u8]) -> Poll<Result<usize, E>>,
    ) -> Poll<Result<usize, E>> {
        let mut spare = pool.spare.borrow_mut();
        if spare.is_empty() {
            *spare = pool.take(SMALL);
        }
        let limit = spare.len() - TAILROOM;
        let result = read(&mut spare[HEADROOM..limit]);
        if let Poll::Ready(Ok(n)) = result
            && n > 0
        {
            self.bytes = std::mem::take(&mut *spare);
            self.start = HEADROOM;
            self.end = HEADROOM;
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
    pub(crate) fn room(&mut self, pool: &BufferPool) -> &mut [u8] {
        if self.is_empty() {
            if self.bytes.is_empty() || (self.flowing && self.bytes.len() < LARGE) {
                pool.put(std::mem::take(&mut self.bytes));
                self.bytes = pool.take(if self.flowing { LARGE } else { SMALL });
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
    pub(crate) fn grow(&mut self, pool: &BufferPool) {
        let size = match self.bytes.len() {
            LARGE.. => return,
            MEDIUM.. => LARGE,
            _ => MEDIUM,
        };
        let mut large = pool.take(size);
        let len = self.end - self.start;
        large[HEADROOM..HEADROOM + len].copy_from_slice(&self.bytes[self.start..self.end]);
        pool.put(std::mem::replace(&mut self.bytes, large));
        (self.start, self.end) = (HEADROOM, HEADROOM + len);
    }

    /// Gives the memory back when there is nothing in it.
    #[inline]
    pub(crate) fn release(&mut self, pool: &BufferPool) {
        if self.is_empty() && !self.bytes.is_empty() {
            pool.put(std::mem::take(&mut self.bytes));
            *self = Buffer { flowing: self.flowing, ..Buffer::default() };
        }
    }

    /// Gives the memory back with whatever is in it.
    pub(crate) fn discard(&mut self, pool: &BufferPool) {
        self.start = self.end;
        self.release(pool);
    }
}
