//! Opening the sockets of listeners.

use oxgate_config::resolved::Bind;
use oxgate_proxy::ListenerSocket;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Connections that wait to be accepted, per socket; the system may hold it lower.
const BACKLOG: i32 = 4096;

/// One socket per worker at least, and the address they have. Sockets that an earlier process left
/// are used before new ones are opened.
///
/// # Errors
/// The address is in use, not this machine's, or not allowed.
pub(crate) fn open(bind: &Bind, workers: usize, left: Vec<OwnedFd>) -> io::Result<(Vec<ListenerSocket>, Bind)> {
    let left: Vec<Socket> = left.into_iter().map(Socket::from).collect();
    match bind {
        Bind::Tcp(address) => {
            let (sockets, address) = if left.is_empty() { open_tcp(*address, workers)? } else { (left, *address) };
            let address = sockets.first().and_then(|s| s.local_addr().ok()?.as_socket()).unwrap_or(address);
            let sockets = at_least(workers, sockets)?.into_iter().map(|s| ListenerSocket::Tcp(s.into()));
            Ok((sockets.collect(), Bind::Tcp(address)))
        }
        Bind::Unix(path) => {
            let sockets = if left.is_empty() { vec![open_unix(path)?] } else { left };
            let sockets = at_least(workers, sockets)?.into_iter().map(|s| ListenerSocket::Unix(s.into()));
            Ok((sockets.collect(), bind.clone()))
        }
    }
}

/// As many as there are workers: some then share one.
fn at_least(workers: usize, mut sockets: Vec<Socket>) -> io::Result<Vec<Socket>> {
    let opened = sockets.len();
    for i in opened..workers {
        sockets.push(sockets[i % opened].try_clone()?);
    }
    for socket in &sockets {
        socket.set_nonblocking(true)?;
    }
    Ok(sockets)
}

fn open_tcp(mut address: SocketAddr, workers: usize) -> io::Result<(Vec<Socket>, SocketAddr)> {
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
        sockets.push(socket);
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
    oxgate_proxy::watch_for_vanished_peers(&socket)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Workers share one socket; a socket's file that an earlier process left behind is replaced.
fn open_unix(path: &Path) -> io::Result<Socket> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is in the way")),
        Err(_) => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}
