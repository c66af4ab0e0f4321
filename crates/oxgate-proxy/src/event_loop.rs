//! A worker's event loop: its tasks, and what the system says about their sockets.
//!
//! It is made for one thread and for tasks that own what they wait for. Waking a task is pushing a
//! number, a socket's readiness is a byte in a table, and a waiting connection costs little more than
//! its own state. Only to be woken by another thread takes a lock.

mod sources;
mod tasks;

pub(crate) use sources::{READ, Source, WRITE};
pub(crate) use tasks::spend;

use crate::clock::Clock;
use crate::timers::Timers;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::Errno;
use sources::Sources;
use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use tasks::{Mailbox, Tasks};

/// Reports taken from the system at once.
const REPORTS: usize = 512;
/// Stands for the mailbox among the sockets; no socket's place has that number.
const MAILBOX: u64 = u64::MAX;

/// The loop of the thread that made it.
#[derive(Debug)]
pub(crate) struct EventLoop {
    sources: Rc<Sources>,
    mailbox: Arc<Mailbox>,
}

impl EventLoop {
    /// # Errors
    /// The process is out of descriptors.
    pub(crate) fn new() -> io::Result<EventLoop> {
        let (sources, mailbox) = (Sources::new()?, Mailbox::open()?);
        epoll::add(&sources.epoll, mailbox.signal(), EventData::new_u64(MAILBOX), EventFlags::IN)?;
        Ok(EventLoop { sources: Rc::new(sources), mailbox })
    }

    /// Runs a task of its own.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        Tasks::with(|tasks| tasks.spawn(Box::pin(task)));
    }

    /// Watches a non-blocking socket that is ready, so far, for what `ready` says.
    ///
    /// # Errors
    /// The system cannot watch it.
    pub(crate) fn watch<S: AsFd>(&self, socket: S, ready: u8) -> io::Result<Source> {
        Source::new(&self.sources, socket, ready)
    }

    /// Runs a main task and all that are spawned until the main one is done; drops the others then.
    ///
    /// # Errors
    /// The system no longer says which sockets are ready.
    pub(crate) fn run(
        &self,
        main: impl Future<Output = ()> + 'static,
        clock: &Clock,
        timers: &Timers,
    ) -> io::Result<()> {
        let running = Rc::new(());
        let held = Rc::clone(&running);
        self.spawn(async move {
            main.await;
            drop(held);
        });
        let (mut events, mut batch) = (Vec::with_capacity(REPORTS), Vec::new());
        Tasks::with(|tasks| {
            while Rc::strong_count(&running) > 1 {
                tasks.poll_ready(&mut batch);
                let patience_us = if tasks.is_ready() { Some(0) } else { timers.patience_us(clock.now_us()) };
                self.wait(&mut events, patience_us)?;
                clock.mark_stale();
                timers.fire(clock.now_us());
            }
            tasks.clear();
            Ok(())
        })
    }

    /// Waits until something is ready or the time is up, and wakes whom it concerns.
    fn wait(&self, events: &mut Vec<Event>, patience_us: Option<u64>) -> io::Result<()> {
        let patience = patience_us.map(|us| {
            // The system counts in milliseconds, and too early is no use.
            let ms = us.div_ceil(1000) as i64;
            Timespec { tv_sec: ms / 1000, tv_nsec: ms % 1000 * 1_000_000 }
        });
        match epoll::wait(&self.sources.epoll, spare_capacity(events), patience.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            match event.data.u64() {
                MAILBOX => self.mailbox.empty(),
                _ => self.sources.report(event),
            }
        }
        Ok(())
    }
}
