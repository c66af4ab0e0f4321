//! Opening the sockets of listeners.

use oxgate_config::resolved::Bind;
use oxgate_proxy::ListenerSocket;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::path::Path;

/// Connections that wait to be accepted, per socket; the system may hold it lower.
const BACKLOG: i32 = 4096;

/// One socket per worker, and the address they have.
///
/// # Errors
/// The address is in use, not this machine's, or not allowed.
pub(crate) fn open(bind: &Bind, workers: usize) -> io::Result<(Vec<ListenerSocket>, Bind)> {
    match bind {
        Bind::Tcp(address) => {
            let (sockets, address) = open_tcp(*address, workers)?;
            Ok((sockets, Bind::Tcp(address)))
        }
        Bind::Unix(path) => Ok((open_unix(path, workers)?, bind.clone())),
    }
}

fn open_tcp(mut address: SocketAddr, workers: usize) -> io::Result<(Vec<ListenerSocket>, SocketAddr)> {
    // Sockets that share a port do not mind each other, not even another gateway's: so a socket that
    // does mind has to find the port free first.
    drop(bind_tcp(address, false)?);
    let mut sockets = Vec::with_capacity(workers);
    for _ in 0..workers {
        let socket = bind_tcp(address, workers > 1)?;
        socket.listen(BACKLOG)?;
        if let Some(bound) = socket.local_addr()?.as_socket() {
            address = bound;
        }
        sockets.push(ListenerSocket::Tcp(socket.into()));
    }
    Ok((sockets, address))
}

fn bind_tcp(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit it: one system call less for each.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Workers share one socket; a file that an earlier process left behind is replaced.
fn open_unix(path: &Path, workers: usize) -> io::Result<Vec<ListenerSocket>> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    if path.exists() {
        std::fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    (0..workers).map(|_| Ok(ListenerSocket::Unix(socket.try_clone()?.into()))).collect()
}
