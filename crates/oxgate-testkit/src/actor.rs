//! One side of a conversation, by script.

use crate::process::PATIENCE;
use crate::strict::find;
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// One line of a script.
#[derive(Clone, Debug)]
pub enum Step {
    /// Write this.
    Send(Vec<u8>),
    /// Read until this has come; what came before it and itself are used up.
    Expect(Vec<u8>),
    /// What has come and is not used up must not hold this.
    Absent(Vec<u8>),
    /// The other side ends the connection; what still comes before is not looked at.
    Closed,
    /// Nothing comes for this long, and the connection stays.
    Quiet(Duration),
    /// Say that nothing more will be sent.
    Shutdown,
    /// Close.
    Close,
    /// Close with a reset.
    Reset,
    /// Take the next connection (origins), or make a new one (clients).
    Connect,
}

/// A connection under a script.
#[derive(Debug)]
pub struct Actor {
    who: String,
    socket: Option<TcpStream>,
    unread: Vec<u8>,
    /// Everything that has come, used up or not.
    pub received: Vec<u8>,
}

impl Actor {
    /// An actor without a connection yet.
    pub fn new(who: &str) -> Actor {
        Actor { who: who.to_owned(), socket: None, unread: Vec::new(), received: Vec::new() }
    }

    /// Plays a script.
    ///
    /// # Errors
    /// Which step failed, and what had come by then.
    pub fn play(&mut self, steps: &[Step], mut connect: impl FnMut() -> Option<TcpStream>) -> Result<(), String> {
        for (i, step) in steps.iter().enumerate() {
            if self.socket.is_none() && !matches!(step, Step::Close | Step::Reset) || matches!(step, Step::Connect) {
                let socket = connect().ok_or_else(|| format!("{} step {}: no connection", self.who, i + 1))?;
                socket.set_nodelay(true).map_err(|e| e.to_string())?;
                self.socket = Some(socket);
                self.unread.clear();
            }
            self.step(step).map_err(|why| {
                format!(
                    "{} step {} ({}): {why}; unread: {:?}",
                    self.who,
                    i + 1,
                    show(step),
                    String::from_utf8_lossy(&self.unread)
                )
            })?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Connect => Ok(()),
            Step::Send(bytes) => self.socket()?.write_all(bytes).map_err(|e| e.to_string()),
            Step::Expect(piece) => self.expect(piece),
            Step::Absent(piece) => match find(&self.unread, piece) {
                Some(_) => Err("it came".to_owned()),
                None => Ok(()),
            },
            Step::Closed => self.closed(),
            Step::Quiet(time) => self.quiet(*time),
            Step::Shutdown => self.socket()?.shutdown(std::net::Shutdown::Write).map_err(|e| e.to_string()),
            Step::Close => {
                self.socket = None;
                Ok(())
            }
            Step::Reset => {
                if let Some(socket) = self.socket.take() {
                    SockRef::from(&socket).set_linger(Some(Duration::ZERO)).map_err(|e| e.to_string())?;
                }
                Ok(())
            }
        }
    }

    fn socket(&mut self) -> Result<&mut TcpStream, String> {
        self.socket.as_mut().ok_or_else(|| "no connection".to_owned())
    }

    fn read(&mut self, patience: Duration) -> Result<Option<usize>, String> {
        let mut buffer = [0; 16 * 1024];
        let socket = self.socket()?;
        socket.set_read_timeout(Some(patience.max(Duration::from_millis(1)))).map_err(|e| e.to_string())?;
        match socket.read(&mut buffer) {
            Ok(n) => {
                self.unread.extend_from_slice(&buffer[..n]);
                self.received.extend_from_slice(&buffer[..n]);
                Ok(Some(n))
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
            Err(e) if e.kind() == ErrorKind::ConnectionReset => Ok(Some(0)),
            Err(e) => Err(e.to_string()),
        }
    }

    fn expect(&mut self, piece: &[u8]) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = find(&self.unread, piece) {
                self.unread.drain(..at + piece.len());
                return Ok(());
            }
            match self.read(end.saturating_duration_since(Instant::now()))? {
                Some(0) => return Err("the connection ended".to_owned()),
                Some(_) => {}
                None => return Err("it did not come".to_owned()),
            }
        }
    }

    fn closed(&mut self) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.read(end.saturating_duration_since(Instant::now()))? {
                Some(0) => return Ok(()),
                Some(_) => {}
                None => return Err("the connection stays".to_owned()),
            }
        }
    }

    fn quiet(&mut self, time: Duration) -> Result<(), String> {
        match self.read(time)? {
            None => Ok(()),
            Some(0) => Err("the connection ended".to_owned()),
            Some(_) => Err("something came".to_owned()),
        }
    }
}

fn show(step: &Step) -> String {
    match step {
        Step::Send(b) => format!("send {:?}", String::from_utf8_lossy(b)),
        Step::Expect(b) => format!("expect {:?}", String::from_utf8_lossy(b)),
        Step::Absent(b) => format!("absent {:?}", String::from_utf8_lossy(b)),
        other => format!("{other:?}"),
    }
}
