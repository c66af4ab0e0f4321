//! Sockets as the event loop sees them: what each is ready for, and who waits for it.

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Waker};

/// Something to be read, or an end or error to be found by reading.
pub(crate) const READ: u8 = 1;
/// Room to write, or an error to be found by writing.
pub(crate) const WRITE: u8 = 2;
/// The peer will send no more, which stays so.
const ENDED: u8 = 4;

/// The sockets of one loop.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) epoll: OwnedFd,
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<u32>>,
}

/// Within one cache line, not across two.
#[derive(Debug, Default)]
#[repr(align(32))]
struct Slot {
    /// The one task that uses the socket.
    waker: Option<Waker>,
    /// Tells apart the sockets that the slot has been for, one after the other.
    generation: u32,
    ready: u8,
    wanted: u8,
}

impl Sources {
    pub(super) fn new() -> io::Result<Sources> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Sources { epoll, slots: RefCell::default(), free: RefCell::default() })
    }

    /// Passes on what the system says about a socket.
    #[inline]
    pub(super) fn report(&self, event: Event) {
        let (flags, data) = (event.flags, event.data.u64());
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = slots.get_mut(data as u32 as usize).filter(|s| s.generation == (data >> 32) as u32) else {
            return;
        };
        let ended = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        let read = ended || flags.contains(EventFlags::IN);
        let write = flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR);
        let news = (u8::from(read) * READ) | (u8::from(write) * WRITE);
        slot.ready |= news | (u8::from(ended) * ENDED);
        if slot.wanted & news != 0 {
            slot.wanted &= !news;
            if let Some(waker) = &slot.waker {
                waker.wake_by_ref();
            }
        }
    }
}

/// A socket's place in the loop, which belongs to one task at a time.
#[derive(Debug)]
pub(crate) struct Source {
    sources: Rc<Sources>,
    index: u32,
}

impl Source {
    /// Has the loop watch a socket that is ready, so far, for what `ready` says.
    pub(super) fn new<S: AsFd>(sources: &Rc<Sources>, socket: S, ready: u8) -> io::Result<Source> {
        let mut slots = sources.slots.borrow_mut();
        let index = sources.free.borrow_mut().pop().unwrap_or_else(|| {
            slots.push(Slot::default());
            slots.len() as u32 - 1
        });
        let slot = &mut slots[index as usize];
        (slot.ready, slot.wanted) = (ready, 0);
        let data = EventData::new_u64(u64::from(slot.generation) << 32 | u64::from(index));
        // Dropped, it gives the slot back if the system refuses.
        let source = Source { sources: Rc::clone(sources), index };
        drop(slots);
        let what = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&sources.epoll, socket, data, what)?;
        Ok(source)
    }

    /// Whether the socket is ready for it, as far as the loop has heard.
    #[inline]
    pub(crate) fn is_ready(&self, what: u8) -> bool {
        self.sources.slots.borrow()[self.index as usize].ready & what != 0
    }

    /// Whether the socket is ready for it; if not, the current task is woken when it is.
    #[inline]
    pub(crate) fn poll_ready(&self, cx: &Context<'_>, what: u8) -> bool {
        let mut slots = self.sources.slots.borrow_mut();
        let slot = &mut slots[self.index as usize];
        if slot.ready & what != 0 {
            return true;
        }
        slot.wanted |= what;
        if !slot.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            let former = slot.waker.replace(cx.waker().clone());
            drop(slots);
            drop(former);
        }
        false
    }

    /// The socket gave or took less than was asked for, so that it would block now: it is not ready until
    /// the loop says so. Where the peer has ended, the end is still to be read.
    #[inline]
    pub(crate) fn used_up(&self, what: u8) {
        let slot = &mut self.sources.slots.borrow_mut()[self.index as usize];
        let end = if slot.ready & ENDED == 0 { 0 } else { READ };
        slot.ready &= !what | end;
    }

    /// There was nothing to read, not even an end, whatever was said of the socket.
    #[inline]
    pub(crate) fn found_nothing(&self) {
        self.sources.slots.borrow_mut()[self.index as usize].ready &= !(READ | ENDED);
    }

    /// Has the loop forget a socket that others hold too: of one that is only ours it hears no more
    /// once it is closed.
    pub(crate) fn forget<S: AsFd>(&self, socket: S) {
        // It is known, so this cannot fail.
        let _ = epoll::delete(&self.sources.epoll, socket);
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let mut slots = self.sources.slots.borrow_mut();
        let slot = &mut slots[self.index as usize];
        let next = Slot { generation: slot.generation.wrapping_add(1), ..Slot::default() };
        let former = std::mem::replace(slot, next);
        self.sources.free.borrow_mut().push(self.index);
        drop(slots);
        drop(former);
    }
}
