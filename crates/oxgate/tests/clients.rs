//! Programs that people use, through the demo gateway. Each runs where it is installed and says so
//! where it is not.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what is wrong by panicking")]

use oxgate_testkit::process::get;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Demo {
    child: Child,
    address: SocketAddr,
}

impl Demo {
    fn start() -> Demo {
        let free = || TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
        let (address, status) = (free(), free());
        let mut command = Command::new(env!("CARGO_BIN_EXE_oxgate"));
        command
            .args(["demo", "--listen", &address.to_string(), "--status", &status.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let demo = Demo { child: command.spawn().expect("the demo runs"), address };
        let end = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(address).is_err() {
            assert!(Instant::now() < end, "the demo does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        demo
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the program printed; `None`, and a word about it, where it is not installed.
fn run(program: &str, args: &[&str]) -> Option<String> {
    match Command::new(program).args(args).output() {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text).into_owned();
            assert!(output.status.success(), "{program} {args:?}: {text}");
            Some(text)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: {program} is not installed");
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

#[test]
fn curl_gets_posts_uploads_and_waits() {
    let demo = Demo::start();
    let echo = demo.url("/echo/x?y=z");
    let Some(text) = run("curl", &["-sS", "--max-time", "10", &echo]) else { return };
    assert!(text.contains("/echo/x"), "{text}");
    run("curl", &["-sS", "--max-time", "10", "-0", "-f", &echo]);
    run("curl", &["-sS", "--max-time", "10", "-I", "-f", &echo]);
    let text = run("curl", &["-sS", "--max-time", "10", "-f", "-H", "Expect: 100-continue", "-d", "some=form", &echo]);
    assert!(text.is_some_and(|t| t.contains("some=form")), "the body did not come back");
    let text =
        run("curl", &["-sS", "--max-time", "10", "-f", "-H", "Transfer-Encoding: chunked", "-d", "in chunks", &echo]);
    assert!(text.is_some_and(|t| t.contains("in chunks")), "the body did not come back");
    let text = run("curl", &["-sS", "--max-time", "10", "-o", "/dev/null", "-w", "%{http_code}", &demo.url("/none")]);
    assert_eq!(text.as_deref(), Some("404"));
}

#[test]
fn load_generators_see_no_error() {
    let demo = Demo::start();
    assert_eq!(get(demo.address, "/echo").0, 200);
    let url = demo.url("/echo");
    if let Some(text) = run("wrk", &["-t1", "-c16", "-d1s", &url]) {
        assert!(
            text.contains("Requests/sec") && !text.contains("Non-2xx") && !text.contains("Socket errors"),
            "{text}"
        );
    }
    if let Some(text) = run("h2load", &["--h1", "-n2000", "-c8", &url]) {
        assert!(text.contains("2000 succeeded, 0 failed"), "{text}");
    }
}

#[test]
fn a_websocket_client_talks_through_the_gateway() {
    let demo = Demo::start();
    if Command::new("/usr/bin/python3").args(["-c", "import websockets"]).output().is_ok_and(|o| o.status.success()) {
        let script = format!(
            "import asyncio, websockets\nasync def main():\n    async with websockets.connect('ws://{}/ws') as s:\n        for text in ['one', 'x' * 100000]:\n            await s.send(text)\n            assert await s.recv() == text\nasyncio.run(asyncio.wait_for(main(), 10))\nprint('echoed')",
            demo.address
        );
        let text = run("/usr/bin/python3", &["-c", &script]);
        assert!(text.is_some_and(|t| t.contains("echoed")));
    } else {
        println!("skipped: Python's websockets is not installed");
    }
}
