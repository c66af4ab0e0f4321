//! `oxgate demo`: sample origins on loopback, and a gateway in front of them.

use crate::cli::DemoArgs;
use crate::gateway::Gateway;
use base64::Engine;
use oxgate_http::chunked::Decoder;
use sha1::{Digest, Sha1};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Starts the origins on a thread of their own; gives their address. The path says which one is meant.
pub(crate) fn start_origins() -> io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("demo-origins".to_owned()).spawn(move || {
        runtime.block_on(async {
            let Ok(listener) = TcpListener::from_std(listener) else { return };
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    // A client that goes away ends its connection, and that is all.
                    let _ = serve(socket).await;
                });
            }
        });
    })?;
    Ok(address)
}

/// A configuration that shows a little of everything.
pub(crate) fn configuration(args: &DemoArgs, origins: &SocketAddr) -> String {
    let DemoArgs { listen, status } = args;
    format!(
        r#"version: 1
listeners: {{ web: {{ address: "{listen}" }} }}
admin: {{ address: off }}
status: {{ address: "{status}" }}
upstreams:
  origins: {{ endpoints: ["http://{origins}"] }}
policies:
  tag: {{ headers: {{ response: {{ set: {{ x-demo: oxgate }} }} }} }}
routes:
  echo: {{ match: "/echo/*", to: origins, policies: [tag] }}
  events: {{ match: "/events", to: origins }}
  websocket: {{ match: "/ws", to: origins, timeouts: {{ tunnel_idle: none }} }}
  slow: {{ match: "/slow", to: origins, timeouts: {{ response: 2s }} }}
  failing: {{ match: "/failing", to: origins, fallback: {{ respond: {{ status: 503, body: "try again later\n" }} }} }}
  home: {{ match: "/", to: {{ respond: {{ body: "Oxgate is running.\n" }} }} }}
"#
    )
}

/// Says what there is to try.
pub(crate) fn greet(gateway: &Gateway, status: SocketAddr) {
    let Some((_, address)) = gateway.addresses().next() else { return };
    println!(
        "Oxgate is in front of some sample origins. Try, in another terminal:

  curl -i  http://{address}/echo/hello?x=1    an echo of the request as JSON
  curl -N  http://{address}/events            server-sent events, one a second
  curl -i  http://{address}/slow              an origin that takes too long: 504 after 2 s
  curl -i  http://{address}/failing           an origin that hangs up: the route's fallback
  curl -i  http://{address}/nowhere           no route: a problem document
  curl -s  http://{status}/metrics      what was counted
  ws://{address}/ws                           a WebSocket that echoes

Ctrl-C stops; twice, at once."
    );
}

/// The longest body that is echoed.
const MAX_BODY: usize = 1 << 20;

async fn read_chunked(socket: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let (mut decoder, mut body) = (Decoder::default(), Vec::new());
    loop {
        let mut byte = [socket.read_u8().await?];
        let decoded = decoder.decode(&mut byte).map_err(|_| io::ErrorKind::InvalidData)?;
        body.extend_from_slice(&byte[decoded.data]);
        if decoded.done {
            return Ok(body);
        }
        if body.len() > MAX_BODY {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

async fn serve(socket: TcpStream) -> io::Result<()> {
    let mut socket = BufReader::new(socket);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = socket.read_u8().await?;
            head.push(byte);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let field = |name: &str| {
            head.lines()
                .filter_map(|l| l.split_once(':'))
                .find(|(n, _)| n.eq_ignore_ascii_case(name))
                .map(|(_, v)| v.trim())
        };
        let mut body = vec![0; field("content-length").and_then(|v| v.parse().ok()).unwrap_or(0).min(MAX_BODY)];
        socket.read_exact(&mut body).await?;
        if field("transfer-encoding").is_some() {
            body = read_chunked(&mut socket).await?;
        }
        let path = head.split(' ').nth(1).unwrap_or("/").split('?').next().unwrap_or("/");
        match path {
            "/events" => return events(&mut socket).await,
            "/ws" => return websocket(&mut socket, field("sec-websocket-key").unwrap_or_default()).await,
            "/slow" => tokio::time::sleep(Duration::from_secs(5)).await,
            "/failing" => return Ok(()),
            _ => {}
        }
        let fields: serde_json::Map<String, serde_json::Value> = head
            .lines()
            .skip(1)
            .filter_map(|l| l.split_once(':'))
            .map(|(n, v)| (n.to_ascii_lowercase(), v.trim().into()))
            .collect();
        let request = head.lines().next().unwrap_or_default();
        let echo = serde_json::json!({ "request": request, "headers": fields, "body": String::from_utf8_lossy(&body) });
        let body = format!("{echo:#}\n");
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(answer.as_bytes()).await?;
    }
}

async fn events(socket: &mut BufReader<TcpStream>) -> io::Result<()> {
    socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n").await?;
    for n in 0u64.. {
        socket.write_all(format!("data: tick {n}\n\n").as_bytes()).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

/// Echoes text and binary messages and answers pings and closes (RFC 6455 §5).
async fn websocket(socket: &mut BufReader<TcpStream>, key: &str) -> io::Result<()> {
    let digest = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    let accept = base64::engine::general_purpose::STANDARD.encode(digest);
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await?;
    loop {
        let (first, second) = (socket.read_u8().await?, socket.read_u8().await?);
        let length = match second & 0x7f {
            126 => u64::from(socket.read_u16().await?),
            127 => socket.read_u64().await?,
            n => u64::from(n),
        };
        let mut mask = [0; 4];
        socket.read_exact(&mut mask).await?;
        let mut payload = vec![0; usize::try_from(length.min(1 << 20)).unwrap_or(0)];
        socket.read_exact(&mut payload).await?;
        for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= key;
        }
        // A ping is answered by a pong, everything else by itself.
        let mut frame = vec![if first & 0x0f == 9 { 0x8a } else { first }];
        match payload.len() {
            n if n < 126 => frame.push(n as u8),
            n if n < 1 << 16 => {
                frame.push(126);
                frame.extend_from_slice(&(n as u16).to_be_bytes());
            }
            n => {
                frame.push(127);
                frame.extend_from_slice(&(n as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&payload);
        socket.write_all(&frame).await?;
        if first & 0x0f == 8 {
            return Ok(());
        }
    }
}
