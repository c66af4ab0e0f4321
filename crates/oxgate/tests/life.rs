//! The life of a gateway process: reload, refusal of bad configurations, drain, status, command line.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what is wrong by panicking")]

use oxgate_testkit::process::{Gateway, get, request};
use oxgate_testkit::sink::Sink;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const BASE: &str = "version: 1\nlisteners: { web: { address: \"127.0.0.1:0\" } }\nadmin: { address: \"127.0.0.1:0\", token: t0ken }\nstatus: { address: \"127.0.0.1:0\" }\n";
const ALL: [&str; 3] = ["web", "status", "admin"];

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_oxgate"))
}

fn config(body: &str) -> String {
    format!("{BASE}routes: {{ all: {{ match: \"/*\", to: {{ respond: {{ body: {body} }} }} }} }}\n")
}

/// Replaces the file as editors do: a new one, renamed over the old one.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("written");
    std::fs::rename(new, path).expect("renamed");
}

/// Asks until the answer is right.
fn until(gateway: &Gateway, body: &str) {
    let end = Instant::now() + Duration::from_secs(10);
    while get(gateway.address("web"), "/").1 != body {
        assert!(Instant::now() < end, "the answer never became {body:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_changed_file_is_taken_by_itself_however_it_was_changed() {
    let gateway = Gateway::start(binary(), &config("one"), &ALL);
    assert_eq!(get(gateway.address("web"), "/"), (200, "one".to_owned()));
    replace(&gateway.config_path(), &config("two"));
    until(&gateway, "two");
    std::fs::write(gateway.config_path(), config("three")).expect("written");
    until(&gateway, "three");
    // A volume as orchestrators mount it: a link to a folder is swapped.
    let folder = gateway.folder.path();
    for (name, body) in [("v1", "four"), ("v2", "five")] {
        std::fs::create_dir(folder.join(name)).expect("a folder");
        std::fs::write(folder.join(name).join("oxgate.yaml"), config(body)).expect("written");
    }
    std::os::unix::fs::symlink("v1", folder.join("..data")).expect("a link");
    std::fs::remove_file(gateway.config_path()).expect("removed");
    std::os::unix::fs::symlink("..data/oxgate.yaml", gateway.config_path()).expect("a link");
    until(&gateway, "four");
    std::os::unix::fs::symlink("v2", folder.join("..new")).expect("a link");
    std::fs::rename(folder.join("..new"), folder.join("..data")).expect("swapped");
    until(&gateway, "five");
}

#[test]
fn a_bad_file_changes_nothing_and_is_reported_everywhere() {
    let mut gateway = Gateway::start(binary(), &config("good"), &ALL);
    for bad in [
        "version: 1\nroutes: { a: { mtach: \"/\" } }\n",
        "version: [",
        "",
        "version: 1\nlisteners: { web: { address: \"127.0.0.1:1x\" } }\n",
    ] {
        replace(&gateway.config_path(), bad);
        let line = gateway.wait_for_log("is refused");
        assert!(line.contains("oxgate.yaml:"), "no place in: {line}");
        assert_eq!(get(gateway.address("web"), "/"), (200, "good".to_owned()));
    }
    assert_eq!(gateway.status("/readyz").0, 200);
    assert!(gateway.status("/readyz?verbose").1.contains("[!!] newest_config: "));
    let metrics = gateway.status("/metrics").1;
    assert!(
        metrics.contains("oxgate_config_rejected_total 4\n") && metrics.contains("oxgate_config_newest_rejected 1\n")
    );
    std::fs::remove_file(gateway.config_path()).expect("removed");
    gateway.wait_for_log("cannot read");
    assert_eq!(get(gateway.address("web"), "/"), (200, "good".to_owned()));
    replace(&gateway.config_path(), &config("better"));
    until(&gateway, "better");
    assert!(gateway.status("/readyz?verbose").1.contains("[ok] newest_config: "));
}

#[test]
fn a_port_in_use_refuses_the_whole_reload() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut gateway = Gateway::start(binary(), &config("good"), &ALL);
    let more = format!(
        "listeners: {{ web: {{ address: \"127.0.0.1:0\" }}, more: {{ address: \"{}\" }} }}",
        taken.local_addr().expect("an address")
    );
    let text = config("changed").replace("listeners: { web: { address: \"127.0.0.1:0\" } }", &more);
    replace(&gateway.config_path(), &text);
    gateway.wait_for_log("cannot open");
    assert_eq!(get(gateway.address("web"), "/"), (200, "good".to_owned()));
}

#[test]
fn listeners_come_and_go_with_a_reload() {
    let mut gateway = Gateway::start(binary(), &config("x"), &ALL);
    let old = gateway.address("web");
    let text = config("y").replace("web:", "other:");
    replace(&gateway.config_path(), &text);
    gateway.wait_for_log("listener=other");
    assert_eq!(get(gateway.address("other"), "/"), (200, "y".to_owned()));
    let end = Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(old).is_ok() {
        assert!(Instant::now() < end, "the old listener stays");
    }
}

/// A WebSocket through the gateway: the client's end and the origin's.
fn websocket(gateway: &Gateway, origin: &std::net::TcpListener) -> (TcpStream, TcpStream) {
    let mut client = TcpStream::connect(gateway.address("web")).expect("a connection");
    client
        .write_all(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .expect("written");
    let (mut server, _) = origin.accept().expect("a connection");
    let mut buffer = [0; 4096];
    let n = server.read(&mut buffer).expect("a head");
    assert!(buffer[..n].ends_with(b"\r\n\r\n"));
    server
        .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .expect("written");
    assert!(client.read(&mut buffer).expect("an answer") > 0);
    (client, server)
}

#[test]
fn a_websocket_survives_reloads() {
    let origin = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = origin.local_addr().expect("an address");
    let config = |n: u32| {
        format!(
            "{BASE}routes: {{ all: {{ match: \"/*\", to: \"http://{address}\" }}, n: {{ match: \"/n\", to: {{ respond: {{ body: v{n} }} }} }} }}\n"
        )
    };
    let gateway = Gateway::start(binary(), &config(0), &ALL);
    let (mut client, mut server) = websocket(&gateway, &origin);
    let mut buffer = [0; 4096];
    for n in 1..=5 {
        replace(&gateway.config_path(), &config(n));
        let end = Instant::now() + Duration::from_secs(10);
        while get(gateway.address("web"), "/n").1 != format!("v{n}") {
            assert!(Instant::now() < end, "the reload is not taken");
        }
        client.write_all(b"ping").expect("written");
        assert_eq!(server.read(&mut buffer).expect("bytes"), 4);
        server.write_all(b"pong").expect("written");
        assert_eq!(client.read(&mut buffer).expect("bytes"), 4);
    }
    assert!(gateway.status("/metrics").1.contains("oxgate_tunnels 1\n"));
}

#[test]
fn reloading_by_signal_and_by_command() {
    let mut gateway = Gateway::start(binary(), &config("one"), &ALL);
    gateway.signal("HUP");
    gateway.wait_for_log("revision=2");
    let admin = gateway.address("admin").to_string();
    let reload = |token: &str| {
        Command::new(binary()).args(["reload", "--admin", &admin, "--token", token]).output().expect("runs")
    };
    let done = reload("t0ken");
    assert!(done.status.success() && String::from_utf8_lossy(&done.stdout).contains("\"revision\": 3"));
    assert_eq!(reload("wrong").status.code(), Some(1));
    let ask = |extra: &str| {
        request(
            gateway.address("admin"),
            &format!("POST /reload HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{extra}\r\n"),
        )
        .0
    };
    assert_eq!(ask(""), 401);
    assert_eq!(ask("Authorization: Bearer t0ken\r\nOrigin: https://evil.test\r\n"), 403);
}

#[test]
fn sigterm_lets_requests_under_way_finish() {
    let origin = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let text = format!(
        "{BASE}routes: {{ all: {{ match: \"/*\", to: \"http://{}\" }} }}\n",
        origin.local_addr().expect("an address")
    );
    let mut gateway = Gateway::start(binary(), &text, &ALL);
    let mut client = TcpStream::connect(gateway.address("web")).expect("a connection");
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("written");
    let (mut server, _) = origin.accept().expect("a connection");
    let mut buffer = [0; 4096];
    assert!(server.read(&mut buffer).expect("a head") > 0);
    gateway.signal("TERM");
    gateway.wait_for_log("draining");
    let end = Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(gateway.address("web")).is_ok() {
        assert!(Instant::now() < end, "it goes on accepting");
    }
    server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").expect("written");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert!(answer.contains("Connection: close\r\n") && answer.ends_with("done"), "{answer}");
    assert_eq!(gateway.wait(), Some(0));
}

#[test]
fn both_ends_of_a_websocket_hear_that_the_gateway_goes_away() {
    let origin = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let text = format!(
        "{BASE}shutdown: {{ drain: 300ms }}\nroutes: {{ all: {{ match: \"/*\", to: \"http://{}\" }} }}\n",
        origin.local_addr().expect("an address")
    );
    let mut gateway = Gateway::start(binary(), &text, &ALL);
    let (mut client, mut server) = websocket(&gateway, &origin);
    server.write_all(b"\x82\x03abc").expect("written");
    // In the middle of a frame nothing can be said.
    let (mut other, mut broken) = websocket(&gateway, &origin);
    broken.write_all(b"\x82\x09abc").expect("written");
    gateway.signal("TERM");
    let rest = |stream: &mut TcpStream| {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("an orderly end");
        rest
    };
    assert_eq!(rest(&mut client), b"\x82\x03abc\x88\x02\x03\xe9");
    let to_upstream = rest(&mut server);
    let [0x88, 0x82, a, b, _, _, high, low] = to_upstream[..] else { panic!("{to_upstream:x?}") };
    assert_eq!([high ^ a, low ^ b], [0x03, 0xe9]);
    assert_eq!(rest(&mut other), b"\x82\x09abc");
    assert_eq!(gateway.wait(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    let origin = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let text = format!(
        "{BASE}routes: {{ all: {{ match: \"/*\", to: \"http://{}\" }} }}\n",
        origin.local_addr().expect("an address")
    );
    let mut gateway = Gateway::start(binary(), &text, &ALL);
    let mut client = TcpStream::connect(gateway.address("web")).expect("a connection");
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("written");
    let _held = origin.accept().expect("a connection");
    gateway.signal("INT");
    gateway.wait_for_log("draining");
    gateway.signal("INT");
    let begun = Instant::now();
    gateway.wait();
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn counters_count_and_survive_reloads() {
    let sink = Sink::start();
    let text = format!("{BASE}routes: {{ all: {{ match: \"/*\", to: \"http://{}\" }} }}\n", sink.address);
    let mut gateway = Gateway::start(binary(), &text, &ALL);
    for _ in 0..3 {
        assert_eq!(get(gateway.address("web"), "/").0, 200);
    }
    gateway.signal("HUP");
    gateway.wait_for_log("revision=2");
    assert_eq!(get(gateway.address("web"), "/").0, 200);
    let end = Instant::now() + Duration::from_secs(5);
    let expected = [
        "oxgate_requests_total{route=\"all\",class=\"2xx\"} 4\n".to_owned(),
        format!("oxgate_upstream_requests_total{{upstream=\"http://{}\"}} 4\n", sink.address),
        "oxgate_request_duration_seconds_count{route=\"all\"} 4\n".to_owned(),
    ];
    while !expected.iter().all(|line| gateway.status("/metrics").1.contains(line)) {
        assert!(Instant::now() < end, "{}", gateway.status("/metrics").1);
    }
    assert_eq!(gateway.status("/livez").0, 200);
    assert_eq!(gateway.status("/nope").0, 404);
}

#[test]
fn descriptors_running_out_is_survived() {
    let gateway = Gateway::start(binary(), &config("x"), &ALL);
    let limited = Command::new("prlimit").args(["--nofile=64", "--pid", &gateway.id().to_string()]).status();
    if !limited.is_ok_and(|s| s.success()) {
        println!("skipped: prlimit is not there");
        return;
    }
    let mut busy: Vec<TcpStream> = (0..120).filter_map(|_| TcpStream::connect(gateway.address("web")).ok()).collect();
    for socket in &mut busy {
        // Half a head: these are not idle and must not be shed before their time.
        let _ = socket.write_all(b"GET / HT");
    }
    drop(busy);
    let end = Instant::now() + Duration::from_secs(10);
    while get(gateway.address("web"), "/").0 != 200 {
        assert!(Instant::now() < end, "it does not recover");
    }
}

#[test]
fn the_command_line_says_what_is_wrong_and_exits_accordingly() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |args: &[&str]| Command::new(binary()).args(args).current_dir(folder.path()).output().expect("runs");
    std::fs::write(folder.path().join("bad.yaml"), "version: 1\nroutes: { a: { match: \"/\", to: nowhere } }\n")
        .expect("written");
    std::fs::write(
        folder.path().join("good.toml"),
        "version = 1\n[routes.a]\nmatch = \"/a/{id}\"\nto = \"http://127.0.0.1:1\"\n",
    )
    .expect("written");
    std::fs::write(
        folder.path().join("good.json"),
        "{\"version\": 1, \"routes\": {\"a\": {\"match\": \"/\", \"to\": {\"respond\": {\"body\": \"\\u00e9\"}}}}}",
    )
    .expect("written");
    assert_eq!(run(&["check", "-c", "bad.yaml"]).status.code(), Some(1));
    assert_eq!(run(&["run", "-c", "bad.yaml"]).status.code(), Some(1));
    assert_eq!(run(&["check", "-c", "good.toml"]).status.code(), Some(0));
    assert_eq!(run(&["check", "-c", "good.json"]).status.code(), Some(0));
    assert_eq!(run(&["check", "--nonsense"]).status.code(), Some(2));
    let json = run(&["check", "-c", "bad.yaml", "--format", "json"]);
    assert!(String::from_utf8_lossy(&json.stdout).contains("\"line\": 2"));
    let effective =
        String::from_utf8_lossy(&run(&["check", "-c", "good.toml", "--print-effective"]).stdout).into_owned();
    assert!(effective.contains("\"response\": \"30s\"") && effective.contains("0.0.0.0:8080"), "{effective}");
    let explained =
        String::from_utf8_lossy(&run(&["explain", "GET", "http://x/a/7", "-c", "good.toml"]).stdout).into_owned();
    assert!(explained.starts_with("route `a` (good.toml:2:") && explained.contains("timeouts: "), "{explained}");
    let schema = String::from_utf8_lossy(&run(&["schema"]).stdout).into_owned();
    assert!(schema.contains("\"body_limit\"") && schema.contains("\"header_timeout\""));
    assert!(String::from_utf8_lossy(&run(&["completions", "bash"]).stdout).contains("oxgate"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    assert_eq!(run(&["proxy", "--listen", &address, "--to", "http://127.0.0.1:1"]).status.code(), Some(3));
}

#[test]
fn includes_variables_and_their_mistakes() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("written");
    };
    write(
        "main.yaml",
        "version: 1\ninclude: [\"r.d/*.yaml\"]\nadmin: { token: \"${file:secret}\" }\nroutes: { a: { match: \"/a\", to: \"${URL}\" } }\n",
    );
    write("secret", "hush-hush\n");
    write("r.d/1.yaml", "routes: { b: { match: \"/b\", to: \"${OTHER:-http://127.0.0.1:2}\" } }\n");
    let check = |url: &str| {
        Command::new(binary())
            .args(["check", "-c", "main.yaml", "--print-effective"])
            .env("URL", url)
            .current_dir(folder.path())
            .output()
            .expect("runs")
    };
    let good = String::from_utf8_lossy(&check("http://127.0.0.1:1").stdout).into_owned();
    assert!(good.contains("http://127.0.0.1:2") && !good.contains("hush-hush"), "{good}");
    let unset = check("");
    assert!(String::from_utf8_lossy(&unset.stderr).contains("`URL` is not set"));
    write("r.d/2.yaml", "routes: { b: { match: \"/c\", to: \"http://127.0.0.1:3\" } }\n");
    let twice = String::from_utf8_lossy(&check("http://127.0.0.1:1").stderr).into_owned();
    assert!(twice.contains("`b` is defined twice") && twice.contains("1.yaml") && twice.contains("2.yaml"), "{twice}");
}

/// Sends requests on new connections and on one kept open until told to stop; gives how many
/// succeeded, or the first failure.
fn keep_asking(address: std::net::SocketAddr, stop: &std::sync::atomic::AtomicBool) -> Result<usize, String> {
    let mut done = 0;
    let mut kept: Option<TcpStream> = None;
    let mut answer = [0; 4096];
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        let (status, _) = get(address, "/new");
        if status != 200 {
            return Err(format!("a new connection got {status} after {done}"));
        }
        let mut socket = match kept.take() {
            Some(socket) => socket,
            None => TcpStream::connect(address).map_err(|e| e.to_string())?,
        };
        socket.write_all(b"GET /kept HTTP/1.1\r\nHost: a.test\r\n\r\n").map_err(|e| e.to_string())?;
        let n = socket.read(&mut answer).map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&answer[..n]);
        if !text.starts_with("HTTP/1.1 200") {
            return Err(format!("a kept connection got {text:?} after {done}"));
        }
        if !text.contains("Connection: close") {
            kept = Some(socket);
        }
        done += 2;
    }
    Ok(done)
}

#[test]
fn a_new_binary_takes_over_and_no_request_fails() {
    let mut gateway = Gateway::start(binary(), &config("x"), &ALL);
    let (web, status) = (gateway.address("web"), gateway.address("status"));
    let stop = std::sync::atomic::AtomicBool::new(false);
    let successor = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(|| keep_asking(web, &stop))).collect();
        std::thread::sleep(Duration::from_millis(100));
        gateway.signal("USR2");
        let line = gateway.wait_for_log("a new process has taken over");
        assert_eq!(gateway.wait(), Some(0), "the old process ends by itself");
        std::thread::sleep(Duration::from_millis(100));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for client in clients {
            let done = client.join().expect("no panic");
            assert!(done.as_ref().is_ok_and(|n| *n > 10), "{done:?}");
        }
        line.rsplit("process=").next().expect("a process id").trim().to_owned()
    });
    assert_eq!(get(status, "/readyz").0, 200, "the status interface went over too");
    let ended = Command::new("kill").args(["-TERM", &successor]).status();
    assert!(ended.is_ok_and(|s| s.success()), "the new process runs under the id that was logged");
    gateway.wait_for_log("drained");
}

#[test]
fn an_upgrade_that_fails_changes_nothing() {
    let mut gateway = Gateway::start(binary(), &config("good"), &ALL);
    replace(&gateway.config_path(), "version: [");
    gateway.signal("USR2");
    gateway.wait_for_log("the upgrade failed");
    assert_eq!(get(gateway.address("web"), "/"), (200, "good".to_owned()));
    assert_eq!(gateway.status("/readyz").0, 200);
}

#[test]
fn the_admin_interface_takes_only_what_it_is_meant_for() {
    let gateway = Gateway::start(binary(), &config("x"), &ALL);
    let ask = |line: &str, fields: &str| {
        let text = format!("{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n");
        let mut socket = TcpStream::connect(gateway.address("admin")).expect("a connection");
        socket.write_all(text.as_bytes()).expect("written");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an answer");
        answer.to_ascii_lowercase()
    };
    let known = "Authorization: Bearer t0ken\r\n";
    let starts = |answer: String, status: &str| assert!(answer.starts_with(&format!("http/1.1 {status}")), "{answer}");
    let answer = ask("POST /reload", "");
    assert!(answer.contains("www-authenticate: bearer"), "{answer}");
    starts(answer, "401");
    starts(ask("GET /other", ""), "401");
    starts(ask("POST /reload", "Authorization: Bearer t0kem\r\n"), "401");
    starts(ask("GET /other", known), "404");
    let answer = ask("GET /reload", known);
    assert!(answer.contains("allow: post"), "{answer}");
    starts(answer, "405");
    starts(ask("GET /reload", &format!("{known}X-HTTP-Method-Override: POST\r\n")), "405");
    starts(ask("POST /reload", &format!("{known}Origin: https://evil.test\r\n")), "403");
    starts(ask("POST /reload", &format!("{known}Content-Type: text/plain\r\nContent-Length: 0\r\n")), "415");
    starts(ask("POST /reload", &format!("{known}Content-Length: 100000000\r\n")), "413");
    starts(ask("POST /reload", known), "200");
}

#[test]
fn a_name_that_leads_to_the_admin_interface_is_not_used() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let text = format!("{BASE}routes: {{ all: {{ match: \"/*\", to: \"http://localhost:{port}\" }} }}\n")
        .replace("admin: { address: \"127.0.0.1:0\"", &format!("admin: {{ address: \"127.0.0.1:{port}\""));
    let gateway = Gateway::start(binary(), &text, &ALL);
    let (status, body) = get(gateway.address("web"), "/reload");
    assert_eq!(status, 503, "{body}");
}

#[test]
fn interfaces_and_names_of_listeners_follow_a_reload() {
    let mut gateway = Gateway::start(binary(), &config("x"), &ALL);
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let web = gateway.address("web");
    let at = |name: &str| format!("{name}: {{ address: \"{port}\" }}");
    let text = config("y").replace("status: { address: \"127.0.0.1:0\" }", &at("status"));
    replace(&gateway.config_path(), &text.replace("t0ken", "0ther"));
    gateway.wait_for_log("is in force");
    assert_eq!(get(port, "/livez").0, 200);
    assert_eq!(get(web, "/").1, "y", "the listener with its own port stayed");
    let reload = |token: &str| {
        let text =
            format!("POST /reload HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n");
        request(gateway.address("admin"), &text).0
    };
    assert_eq!((reload("t0ken"), reload("0ther")), (401, 200));
}

#[test]
fn a_listener_keeps_its_socket_under_another_name() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let fixed = |name: &str, body: &str| {
        config(body).replace("web: { address: \"127.0.0.1:0\" }", &format!("{name}: {{ address: \"{port}\" }}"))
    };
    let mut gateway = Gateway::start(binary(), &fixed("web", "one"), &ALL);
    replace(&gateway.config_path(), &fixed("api", "two"));
    gateway.wait_for_log("is in force");
    assert_eq!(get(port, "/"), (200, "two".to_owned()));
}

#[test]
fn a_log_that_cannot_be_written_stops_nobody() {
    let logged = |to: &str| format!("{}telemetry: {{ access_log: {{ to: \"{to}\" }} }}\n", config("x"));
    let mut gateway = Gateway::start(binary(), &logged("file:/dev/full"), &ALL);
    for _ in 0..20 {
        assert_eq!(get(gateway.address("web"), "/").0, 200);
    }
    gateway.wait_for_log("the access log cannot be written");
    let lost = gateway.status("/metrics").1;
    let lost: u64 = lost.lines().find_map(|l| l.strip_prefix("oxgate_log_lost_total ")?.parse().ok()).unwrap_or(0);
    assert!(lost > 0, "no line was counted as lost");
    // With another target it goes on.
    let file = gateway.folder.path().join("access.log");
    replace(&gateway.config_path(), &logged(&format!("file:{}", file.display())));
    gateway.wait_for_log("is in force");
    assert_eq!(get(gateway.address("web"), "/after").0, 200);
    let end = Instant::now() + Duration::from_secs(10);
    while !std::fs::read_to_string(&file).is_ok_and(|text| text.contains("/after")) {
        assert!(Instant::now() < end, "the line never came");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn no_line_is_lost_or_doubled_when_the_log_is_rotated() {
    let text = format!("{}telemetry: {{ access_log: {{ to: \"file:access.log\" }} }}\n", config("x"));
    let mut gateway = Gateway::start(binary(), &text, &ALL);
    let (log, old) = (gateway.folder.path().join("access.log"), gateway.folder.path().join("access.log.1"));
    let start = Instant::now();
    let mut sent = 0;
    // Longer than it takes the writer to notice the new name.
    while start.elapsed() < Duration::from_millis(2500) {
        assert_eq!(get(gateway.address("web"), &format!("/n{sent}")).0, 200);
        sent += 1;
        if sent == 20 {
            std::fs::rename(&log, &old).expect("renamed");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    gateway.signal("TERM");
    gateway.wait();
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let lines = format!("{}{}", read(&old), read(&log));
    for n in 0..sent {
        assert_eq!(lines.matches(&format!("\"/n{n}\"")).count(), 1, "line {n} of {sent}");
    }
    assert!(!read(&log).is_empty(), "the new file was never used");
}

#[test]
fn a_file_that_never_rests_is_applied_now_and_then() {
    let gateway = Gateway::start(binary(), &config("n0"), &ALL);
    let start = Instant::now();
    let mut n = 0;
    while start.elapsed() < Duration::from_secs(2) {
        n += 1;
        replace(&gateway.config_path(), &config(&format!("n{n}")));
        std::thread::sleep(Duration::from_millis(10));
    }
    until(&gateway, &format!("n{n}"));
    let metrics = gateway.status("/metrics").1;
    let revision: u64 =
        metrics.lines().find_map(|l| l.strip_prefix("oxgate_config_revision ")?.parse().ok()).expect("a revision");
    assert!(revision <= 8, "{revision} revisions in two seconds");
}

#[test]
fn a_full_listener_makes_room_from_its_own_idle_clients_only() {
    let text = "version: 1\nlisteners: { web: { address: \"127.0.0.1:0\", limits: { connections: 4 } }, other: { address: \"127.0.0.1:0\" } }\n\
        admin: { address: off }\nstatus: { address: \"127.0.0.1:0\" }\nroutes: { all: { match: \"/*\", to: { respond: { body: x } } } }\n";
    let gateway = Gateway::start(binary(), text, &["web", "other", "status"]);
    let idle = |name: &str| {
        let mut socket = TcpStream::connect(gateway.address(name)).expect("a connection");
        socket.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("written");
        let n = socket.read(&mut [0; 1024]).expect("an answer");
        assert!(n > 0);
        socket
    };
    let mut other: Vec<TcpStream> = (0..8).map(|_| idle("other")).collect();
    let mut web: Vec<TcpStream> = (0..4).map(|_| idle("web")).collect();
    // A worker makes room from its own clients only, so it may take more than one try to get in.
    let end = Instant::now() + Duration::from_secs(10);
    let mut answer = [0; 1024];
    while Instant::now() < end {
        let mut socket = TcpStream::connect(gateway.address("web")).expect("a connection");
        let sent = socket.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        if sent.is_ok() && socket.read(&mut answer).is_ok_and(|n| n > 0) {
            break;
        }
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"), "nobody made room");
    // One had to go, and no other.
    let ended = web.iter_mut().filter_map(|socket| {
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("an option");
        socket.read(&mut [0; 1]).ok().filter(|n| *n == 0)
    });
    assert_eq!(ended.count(), 1);
    for socket in &mut other {
        socket.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("written");
        assert!(socket.read(&mut [0; 1024]).is_ok_and(|n| n > 0), "another listener's client was closed");
    }
}

#[test]
fn a_client_that_resets_is_noticed_while_the_upstream_stalls() {
    let origin = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let text = format!(
        "{BASE}routes: {{ all: {{ match: \"/*\", to: \"http://{}\", timeouts: {{ response: none }} }} }}\n",
        origin.local_addr().expect("an address")
    );
    let gateway = Gateway::start(binary(), &text, &ALL);
    let mut client = TcpStream::connect(gateway.address("web")).expect("a connection");
    client.write_all(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n").expect("written");
    let (mut upstream, _) = origin.accept().expect("the request");
    // Nobody reads at the other end: sooner or later nothing more goes in.
    client.set_write_timeout(Some(Duration::from_millis(300))).expect("an option");
    while client.write(&[b'x'; 65536]).is_ok() {}
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("an option");
    drop(client);
    let end = Instant::now() + Duration::from_secs(5);
    let gone = || gateway.status("/metrics").1.contains("oxgate_answers_by_reason_total{reason=\"client_gone\"} 1");
    while !gone() {
        assert!(Instant::now() < end, "the reset was never noticed");
        std::thread::sleep(Duration::from_millis(5));
    }
    upstream.set_read_timeout(Some(Duration::from_secs(5))).expect("an option");
    let mut buffer = vec![0; 1 << 20];
    while upstream.read(&mut buffer).is_ok_and(|n| n > 0) {}
}
