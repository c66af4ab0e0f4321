//! Tasks: futures of one thread, woken by number.
//!
//! A waker is a number and no reference: which loop, which slot, which of the tasks that the slot
//! has held. So to copy or drop one costs nothing, and to wake a task that is gone does nothing.

#![expect(clippy::disallowed_types, reason = "locks are taken to wake from another thread, never per request")]

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, write};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

/// How many reads and accepts a task may do before the others have their turn.
const BUDGET: u32 = 32;

thread_local! {
    static HERE: Tasks = const { Tasks::new() };
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// The tasks of this thread.
pub(super) struct Tasks {
    /// The number of the loop that runs here; `NOWHERE` when none does.
    home: Cell<u16>,
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<u32>>,
    /// Slots of the tasks to be polled next.
    ready: RefCell<Vec<u32>>,
    budget: Cell<u32>,
}

struct Slot {
    task: Option<Task>,
    generation: u32,
    /// Whether it is among the ready ones.
    queued: bool,
}

const NOWHERE: u16 = u16::MAX;

impl Tasks {
    const fn new() -> Tasks {
        Tasks {
            home: Cell::new(NOWHERE),
            slots: RefCell::new(Vec::new()),
            free: RefCell::new(Vec::new()),
            ready: RefCell::new(Vec::new()),
            budget: Cell::new(0),
        }
    }

    /// Lends this thread's tasks.
    pub(super) fn with<T>(f: impl FnOnce(&Tasks) -> T) -> T {
        HERE.with(f)
    }

    pub(super) fn is_ready(&self) -> bool {
        !self.ready.borrow().is_empty()
    }

    pub(super) fn spawn(&self, task: Task) {
        let mut slots = self.slots.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or_else(|| {
            slots.push(Slot { task: None, generation: 0, queued: false });
            slots.len() as u32 - 1
        });
        let slot = &mut slots[index as usize];
        slot.task = Some(task);
        // The task that was here before may have been woken while it ended.
        if !std::mem::replace(&mut slot.queued, true) {
            self.ready.borrow_mut().push(index);
        }
    }

    /// Has a task polled soon, if it is still there.
    #[inline]
    fn wake(&self, id: TaskId) {
        let mut slots = self.slots.borrow_mut();
        if let Some(slot) = slots.get_mut(id.index as usize)
            && slot.generation == id.generation
            && !std::mem::replace(&mut slot.queued, true)
        {
            self.ready.borrow_mut().push(id.index);
        }
    }

    /// Polls every task that is ready now; `batch` is a buffer to reuse.
    pub(super) fn poll_ready(&self, batch: &mut Vec<u32>) {
        std::mem::swap(batch, &mut *self.ready.borrow_mut());
        for index in batch.drain(..) {
            self.poll(index);
        }
    }

    fn poll(&self, index: u32) {
        let (task, generation) = {
            let slot = &mut self.slots.borrow_mut()[index as usize];
            slot.queued = false;
            (slot.task.take(), slot.generation)
        };
        let Some(mut task) = task else { return };
        let waker = TaskId { home: self.home.get(), generation, index }.waker();
        self.budget.set(BUDGET);
        // A task that panics is lost, the others are not.
        let polled = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(&mut Context::from_waker(&waker))));
        if matches!(polled, Ok(Poll::Pending)) {
            self.slots.borrow_mut()[index as usize].task = Some(task);
            return;
        }
        let _ = catch_unwind(AssertUnwindSafe(|| drop(task)));
        let slot = &mut self.slots.borrow_mut()[index as usize];
        slot.generation = (slot.generation + 1) & GENERATIONS;
        self.free.borrow_mut().push(index);
    }

    /// Belongs to no loop any more.
    pub(super) fn leave_home(&self) {
        self.home.set(NOWHERE);
    }

    /// Drops every task.
    pub(super) fn clear(&self) {
        self.ready.borrow_mut().clear();
        self.free.borrow_mut().clear();
        let slots = std::mem::take(&mut *self.slots.borrow_mut());
        // What a task does while it is dropped finds no tasks.
        drop(slots);
    }
}

/// Says whether the current task may do some more before others have their turn. If not, it is to
/// be woken and to wait.
#[inline]
pub(crate) fn spend(cx: &Context<'_>) -> bool {
    let left = HERE.with(|tasks| {
        let left = tasks.budget.get();
        tasks.budget.set(left.saturating_sub(1));
        left
    });
    if left == 0 {
        cx.waker().wake_by_ref();
    }
    left > 0
}

/// A task among those of all loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TaskId {
    home: u16,
    generation: u32,
    index: u32,
}

const INDEX_BITS: u32 = 28;
const GENERATION_BITS: u32 = 20;
const GENERATIONS: u32 = (1 << GENERATION_BITS) - 1;
const _: () = assert!(usize::BITS == 64, "a task's number needs 64 bits");

impl TaskId {
    fn number(self) -> usize {
        (self.home as usize) << (INDEX_BITS + GENERATION_BITS)
            | (self.generation as usize) << INDEX_BITS
            | self.index as usize
    }

    fn from_number(number: usize) -> TaskId {
        TaskId {
            home: (number >> (INDEX_BITS + GENERATION_BITS)) as u16,
            generation: (number >> INDEX_BITS) as u32 & GENERATIONS,
            index: number as u32 & ((1 << INDEX_BITS) - 1),
        }
    }

    fn waker(self) -> Waker {
        // SAFETY: the functions of the table take the pointer for a number and never follow it; they may
        // be called on any thread, any number of times.
        unsafe { Waker::from_raw(raw(ptr::without_provenance(self.number()))) }
    }
}

static WAKER: RawWakerVTable = RawWakerVTable::new(raw, wake, wake, |_| ());

fn raw(number: *const ()) -> RawWaker {
    RawWaker::new(number, &WAKER)
}

fn wake(number: *const ()) {
    let id = TaskId::from_number(number.addr());
    let here = HERE.try_with(|tasks| {
        let here = tasks.home.get() == id.home;
        if here {
            tasks.wake(id);
        }
        here
    });
    if here != Ok(true) {
        wake_elsewhere(id);
    }
}

/// How other threads wake tasks of a loop.
#[derive(Debug)]
pub(super) struct Mailbox {
    wanted: Mutex<Vec<TaskId>>,
    signal: OwnedFd,
}

/// The mailboxes of all loops, each at the place of its number.
static MAILBOXES: RwLock<Vec<Weak<Mailbox>>> = RwLock::new(Vec::new());

#[cold]
fn wake_elsewhere(id: TaskId) {
    let mailboxes = MAILBOXES.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(mailbox) = mailboxes.get(usize::from(id.home)).and_then(Weak::upgrade) {
        mailbox.wanted.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        // It can only fail when the loop has billions of signals before it.
        let _ = write(&mailbox.signal, &1_u64.to_ne_bytes());
    }
}

impl Mailbox {
    /// Makes this thread the home of a loop.
    pub(super) fn open() -> io::Result<Arc<Mailbox>> {
        let signal = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let mut mailboxes = MAILBOXES.write().unwrap_or_else(PoisonError::into_inner);
        let place = mailboxes.iter().position(|m| m.strong_count() == 0).unwrap_or(mailboxes.len());
        let home = u16::try_from(place).ok().filter(|home| *home != NOWHERE);
        let home = home.ok_or_else(|| io::Error::other("too many event loops"))?;
        let mailbox = Arc::new(Mailbox { wanted: Mutex::default(), signal });
        let known = Arc::downgrade(&mailbox);
        match mailboxes.get_mut(place) {
            Some(free) => *free = known,
            None => mailboxes.push(known),
        }
        HERE.with(|tasks| tasks.home.set(home));
        Ok(mailbox)
    }

    /// What becomes readable when somebody has put something in.
    pub(super) fn signal(&self) -> BorrowedFd<'_> {
        self.signal.as_fd()
    }

    /// Wakes the tasks that other threads want woken.
    pub(super) fn empty(&self) {
        // Nothing to read means that nothing was put in since.
        let _ = read(&self.signal, &mut [0; 8]);
        let wanted = std::mem::take(&mut *self.wanted.lock().unwrap_or_else(PoisonError::into_inner));
        HERE.with(|tasks| wanted.into_iter().for_each(|id| tasks.wake(id)));
    }
}
