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
