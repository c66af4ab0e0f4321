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
use std::cell::Cell;
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
    /// The system no longer says which sockets are ready, or the main task panicked.
    pub(crate) fn run(
        &self,
        main: impl Future<Output = ()> + 'static,
        clock: &Clock,
        timers: &Timers,
    ) -> io::Result<()> {
        let done = Rc::new(Cell::new(false));
        let over = Rc::clone(&done);
        self.spawn(async move {
            main.await;
            over.set(true);
        });
        let (mut events, mut batch) = (Vec::with_capacity(REPORTS), Vec::new());
        Tasks::with(|tasks| {
            loop {
                tasks.poll_ready(&mut batch);
                // It is held by the main task until that has ended in one way or another.
                if Rc::strong_count(&done) == 1 {
                    break;
                }
                let patience_us = if tasks.is_ready() {
                    Some(0)
                } else {
                    // The tasks took their time.
                    clock.mark_stale();
                    timers.patience_us(clock.now_us())
                };
                self.wait(&mut events, patience_us)?;
                clock.mark_stale();
                timers.fire(clock.now_us());
            }
            tasks.clear();
            if done.get() { Ok(()) } else { Err(io::Error::other("the main task panicked")) }
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

impl Drop for EventLoop {
    fn drop(&mut self) {
        Tasks::with(Tasks::leave_home);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::{Acceptor, Socket};
    use std::cell::RefCell;
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::fd::OwnedFd;
    use std::task::{Poll, Waker};
    use tokio::sync::mpsc;

    /// What a test has at hand.
    struct Bench {
        event_loop: EventLoop,
        clock: Clock,
        timers: Timers,
    }

    impl Bench {
        async fn sleep(&self, ms: u64) {
            self.timers.sleep_until(self.clock.now_us() + ms * 1000).await;
        }
    }

    fn run<F: Future<Output = ()> + 'static>(main: impl FnOnce(Rc<Bench>) -> F) {
        let event_loop = EventLoop::new().expect("a loop");
        let bench = Rc::new(Bench { event_loop, clock: Clock::new(), timers: Timers::default() });
        let main = main(Rc::clone(&bench));
        bench.event_loop.run(main, &bench.clock, &bench.timers).expect("the loop runs");
    }

    /// A connection that the loop watches, and its other end.
    fn pair(bench: &Bench) -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let far = TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
        let (near, _) = listener.accept().expect("the connection");
        near.set_nonblocking(true).expect("set");
        (Socket::new(&bench.event_loop, near.into()).expect("watched"), far)
    }

    async fn read(socket: &mut Socket, room: &mut [u8]) -> usize {
        poll_fn(|cx| socket.poll_read(cx, room)).await.expect("read")
    }

    #[test]
    fn what_comes_in_pieces_is_read_to_the_end() {
        run(|bench| async move {
            let (mut socket, mut far) = pair(&bench);
            let sender = std::thread::spawn(move || {
                for piece in 0..200_u8 {
                    far.write_all(&[piece; 77]).expect("sent");
                }
            });
            let (mut got, mut room) = (Vec::new(), [0; 1000]);
            loop {
                match read(&mut socket, &mut room).await {
                    0 => break,
                    n => got.extend_from_slice(&room[..n]),
                }
            }
            assert_eq!(got, (0..200_u8).flat_map(|piece| [piece; 77]).collect::<Vec<_>>());
            sender.join().expect("it sent all");
        });
    }

    #[test]
    fn an_end_that_came_with_the_last_bytes_is_found_behind_them() {
        run(|bench| async move {
            let (mut socket, mut far) = pair(&bench);
            far.write_all(b"last").expect("sent");
            drop(far);
            bench.sleep(20).await;
            let mut room = [0; 100];
            assert_eq!(read(&mut socket, &mut room).await, 4);
            assert_eq!(read(&mut socket, &mut room).await, 0);
            assert!(!socket.is_quiet());
        });
    }

    #[test]
    fn an_end_is_found_though_the_peer_takes_nothing_more() {
        run(|bench| async move {
            let (mut socket, mut far) = pair(&bench);
            far.write_all(b"last").expect("sent");
            far.shutdown(std::net::Shutdown::Write).expect("ended");
            bench.sleep(20).await;
            poll_fn(|cx| match socket.poll_write(cx, &[0; 65536]) {
                Poll::Ready(written) => {
                    written.expect("written");
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Poll::Pending => Poll::Ready(()),
            })
            .await;
            let mut room = [0; 100];
            assert_eq!(read(&mut socket, &mut room).await, 4);
            assert_eq!(read(&mut socket, &mut room).await, 0);
        });
    }

    #[test]
    fn a_full_peer_is_written_to_again_once_it_has_read() {
        run(|bench| async move {
            const LEN: usize = 32 << 20;
            let (mut socket, mut far) = pair(&bench);
            let (start, started) = std::sync::mpsc::channel();
            let reader = std::thread::spawn(move || {
                started.recv().expect("the start");
                let mut all = Vec::new();
                far.read_to_end(&mut all).expect("read");
                all.len()
            });
            let bytes = vec![1; LEN];
            let (mut sent, mut waited) = (0, false);
            poll_fn(|cx| {
                while sent < LEN {
                    match socket.poll_write(cx, &bytes[sent..]) {
                        Poll::Ready(written) => sent += written.expect("written"),
                        Poll::Pending => {
                            // Nobody reads until the socket is full.
                            if !std::mem::replace(&mut waited, true) {
                                start.send(()).expect("it waits");
                            }
                            return Poll::Pending;
                        }
                    }
                }
                Poll::Ready(())
            })
            .await;
            drop(socket);
            assert!(waited, "the socket took everything at once");
            assert_eq!(reader.join().expect("it read all"), LEN);
        });
    }

    #[test]
    fn a_task_that_never_runs_dry_lets_others_run() {
        run(|bench| async move {
            let (mut socket, mut far) = pair(&bench);
            let sender = std::thread::spawn(move || while far.write_all(&[0; 65536]).is_ok() {});
            let read_on = async move {
                loop {
                    if poll_fn(|cx| socket.poll_read(cx, &mut [0; 16])).await.is_err() {
                        return;
                    }
                }
            };
            bench.event_loop.spawn(read_on);
            // It would not end if the other task had the thread for itself.
            bench.sleep(50).await;
            drop(bench);
            drop(sender);
        });
    }

    #[test]
    fn other_threads_wake_tasks() {
        run(|_| async move {
            let (there, mut here) = mpsc::unbounded_channel();
            let sender = std::thread::spawn(move || {
                for n in 0..1000 {
                    there.send(n).expect("somebody listens");
                    std::thread::yield_now();
                }
            });
            for n in 0..1000 {
                assert_eq!(here.recv().await, Some(n));
            }
            sender.join().expect("it sent all");
        });
    }

    #[test]
    fn the_waker_of_a_task_that_is_gone_wakes_no_other() {
        run(|bench| async move {
            let old: Rc<RefCell<Option<Waker>>> = Rc::default();
            let kept = Rc::clone(&old);
            bench.event_loop.spawn(poll_fn(move |cx| {
                *kept.borrow_mut() = Some(cx.waker().clone());
                Poll::Ready(())
            }));
            bench.sleep(10).await;
            // The next task gets the place of the one before.
            let polled = Rc::new(Cell::new(0));
            let count = Rc::clone(&polled);
            let next = poll_fn(move |_| {
                count.set(count.get() + 1);
                Poll::<()>::Pending
            });
            bench.event_loop.spawn(next);
            bench.sleep(10).await;
            let waker = old.borrow_mut().take().expect("the first task ran");
            waker.wake_by_ref();
            std::thread::spawn(move || waker.wake()).join().expect("it woke");
            bench.sleep(10).await;
            assert_eq!(polled.get(), 1);
        });
    }

    #[test]
    fn a_task_that_panics_is_lost_alone() {
        run(|bench| async move {
            let dropped = Rc::new(());
            let held = Rc::clone(&dropped);
            bench.event_loop.spawn(async move {
                let _held = held;
                panic!("as the test wants");
            });
            bench.sleep(10).await;
            assert_eq!(Rc::strong_count(&dropped), 1);
        });
    }

    #[test]
    fn nothing_is_left_when_the_main_task_is_done() {
        let held = Rc::new(());
        let inner = Rc::clone(&held);
        run(|bench| async move {
            bench.event_loop.spawn(async move {
                let _inner = inner;
                std::future::pending::<()>().await;
            });
            bench.sleep(10).await;
        });
        assert_eq!(Rc::strong_count(&held), 1);
    }

    #[test]
    fn connecting_says_whether_somebody_listens() {
        run(|bench| async move {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = listener.local_addr().expect("its address");
            assert!(Socket::connect(&bench.event_loop, address).await.is_ok());
            drop(listener);
            let error = Socket::connect(&bench.event_loop, address).await.expect_err("nobody listens");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        });
    }

    #[test]
    fn an_acceptor_that_is_dropped_is_forgotten_though_others_hold_its_socket() {
        run(|bench| async move {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            listener.set_nonblocking(true).expect("set");
            let address: SocketAddr = listener.local_addr().expect("its address");
            let mine: OwnedFd = listener.try_clone().expect("a copy").into();
            let acceptor = Acceptor::new(&bench.event_loop, mine).expect("watched");
            let _first = TcpStream::connect(address).expect("connected");
            let (_, peer) = poll_fn(|cx| acceptor.poll_accept(cx)).await.expect("accepted");
            assert!(peer.is_some());
            drop(acceptor);
            // Its place goes to a socket that is quiet; what the listener gets is not for it.
            let (mut quiet, _far) = pair(&bench);
            let _second = TcpStream::connect(address).expect("connected");
            bench.sleep(20).await;
            assert!(quiet.is_quiet());
        });
    }
}
