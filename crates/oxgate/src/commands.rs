//! What each command does.

use crate::cli::{CheckArgs, Cli, Command, ConfigArgs, DemoArgs, Format, ProxyArgs, ReloadArgs, RunArgs, WorkerArgs};
use crate::configuration::{Reading, Ready, Source};
use crate::gateway::Gateway;
use crate::upgrade::Inherited;
use crate::{demo, explain, run};
use clap::{CommandFactory, Parser};
use oxgate_config::decode::Decode;
use oxgate_config::diagnostic::Diagnostic;
use oxgate_config::document::Document;
use serde_json::json;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Fine.
const OK: u8 = 0;
/// The configuration has mistakes.
const BAD_CONFIG: u8 = 1;
/// The command line has mistakes.
const BAD_USAGE: u8 = 2;
/// The gateway could not start.
const COULD_NOT_START: u8 = 3;

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // What cannot be printed cannot be helped.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { BAD_USAGE } else { OK });
        }
    };
    let code = match cli.command {
        Command::Run(args) => run_command(&args),
        Command::Check(args) => check(&args),
        Command::Explain(args) => explain::command(&args, &source(&args.config)),
        Command::Proxy(args) => proxy(&args),
        Command::Demo(args) => demo_command(&args),
        Command::Schema => print(&format!("{:#}\n", schema())),
        Command::Reload(args) => reload(&args),
        Command::Version => print(&format!("oxgate {}\n", env!("CARGO_PKG_VERSION"))),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "oxgate", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
    };
    ExitCode::from(code)
}

/// Prints to standard output; a reader that has closed it is content.
pub(crate) fn print(text: &str) -> u8 {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => COULD_NOT_START,
        _ => OK,
    }
}

/// Prints diagnostics for people; gives the exit code.
pub(crate) fn report(diagnostics: &[Diagnostic]) -> u8 {
    for diagnostic in diagnostics {
        eprintln!("{}\n", diagnostic.text());
    }
    let n = diagnostics.len();
    eprintln!("{n} mistake{} in the configuration", if n == 1 { "" } else { "s" });
    BAD_CONFIG
}

fn source(args: &ConfigArgs) -> Source {
    let places = [PathBuf::from("oxgate.yaml"), PathBuf::from("/etc/oxgate/oxgate.yaml")];
    let found = places.iter().find(|p| p.exists()).unwrap_or(&places[0]);
    Source::File(args.config.clone().unwrap_or_else(|| found.clone()))
}

fn worker_count(args: &WorkerArgs) -> usize {
    args.workers.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from)
}

fn start_log() {
    let subscriber = tracing_subscriber::fmt().with_writer(io::stderr).with_target(false).finish();
    // Set once per process; a second time would change nothing.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

fn run_command(args: &RunArgs) -> u8 {
    let source = source(&args.config);
    serve(source, worker_count(&args.workers), |_| {})
}

/// Reads a source and runs a gateway by it.
fn serve(source: Source, workers: usize, started: impl FnOnce(&Gateway)) -> u8 {
    start_log();
    let inherited = Inherited::take();
    let Reading { result, files } = source.read();
    let ready = match result {
        Ok(ready) => ready,
        Err(diagnostics) => return report(&diagnostics),
    };
    match run::run(ready, source, files, workers, inherited, started) {
        Ok(()) => OK,
        Err(error) => {
            eprintln!("oxgate: {error}");
            COULD_NOT_START
        }
    }
}

fn check(args: &CheckArgs) -> u8 {
    let Reading { result, files } = source(&args.config).read();
    match (result, args.format) {
        (Ok(ready), _) if args.print_effective => print(&format!("{:#}\n", effective(&ready))),
        (Ok(ready), Format::Text) => {
            let (routes, files) = (ready.resolved.routes.len(), files.len());
            print(&format!("no mistakes: {routes} routes in {files} file{}\n", if files == 1 { "" } else { "s" }))
        }
        (Ok(_), Format::Json) => print("{ \"diagnostics\": [] }\n"),
        (Err(diagnostics), Format::Text) => report(&diagnostics),
        (Err(diagnostics), Format::Json) => {
            let list: Vec<_> = diagnostics.iter().map(Diagnostic::json).collect();
            print(&format!("{:#}\n", json!({ "diagnostics": list })));
            BAD_CONFIG
        }
    }
}

/// The configuration with every default in place.
fn effective(ready: &Ready) -> serde_json::Value {
    let mut document = ready.document.encode();
    let listeners = ready.resolved.listeners.iter().filter(|_| ready.document.listeners.entries.is_empty());
    for listener in listeners {
        document["listeners"][&*listener.name] = json!({ "address": listener.address.to_string() });
    }
    for route in &ready.resolved.routes {
        let timeouts = &mut document["routes"][&*route.name]["timeouts"];
        *timeouts = explain::timeouts(&route.timeouts);
    }
    document
}

/// The JSON Schema of the configuration, policies included.
fn schema() -> serde_json::Value {
    let mut schema = Document::schema();
    let kinds: Vec<_> = oxgate_policy::KINDS
        .iter()
        .map(|kind| {
            let mut options = (kind.schema)();
            options["description"] = kind.doc.into();
            json!({ "type": "object", "additionalProperties": false, "required": [kind.name], "properties": { kind.name: options } })
        })
        .collect();
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "Oxgate configuration".into();
    schema["$defs"] = json!({ "policy": { "oneOf": kinds } });
    schema["properties"]["include"] = json!({ "type": "array", "items": { "type": "string" }, "description": "Files to add, `*` allowed in the name." });
    schema
}

fn proxy(args: &ProxyArgs) -> u8 {
    let status = args.status.map_or_else(|| "off".to_owned(), |a| a.to_string());
    let text = json!({
        "version": 1,
        "listeners": { "proxy": { "address": args.listen } },
        "admin": { "address": "off" },
        "status": { "address": status },
        "routes": { "all": { "match": "/*", "to": args.to } },
    });
    let source = Source::Text { name: "command line".to_owned(), text: format!("{text:#}") };
    serve(source, worker_count(&args.workers), |_| {})
}

fn demo_command(args: &DemoArgs) -> u8 {
    match demo::start_origins() {
        Ok(origins) => {
            let text = demo::configuration(args, &origins);
            let source = Source::Text { name: "demo".to_owned(), text };
            serve(source, 1, |gateway| demo::greet(gateway, args.status))
        }
        Err(error) => {
            eprintln!("oxgate: the sample origins could not start: {error}");
            COULD_NOT_START
        }
    }
}

fn reload(args: &ReloadArgs) -> u8 {
    let mut address = args.admin;
    let mut token = args.token.clone();
    if address.is_none() {
        let configured = match source(&args.config).read().result {
            Ok(ready) => ready.resolved.admin,
            Err(diagnostics) => return report(&diagnostics),
        };
        let Some(admin) = configured else {
            eprintln!("oxgate: the admin interface is switched off; send SIGHUP to the process instead");
            return BAD_USAGE;
        };
        address = Some(admin.address);
        token = token.or(admin.token.map(|t| t.0));
    }
    let Some(address) = address else { return BAD_USAGE };
    match post_reload(address, token.as_deref().filter(|t| !t.is_empty())) {
        Ok((200, body)) => print(&body),
        Ok((status, body)) => {
            eprintln!("oxgate: the gateway answered {status}: {body}");
            BAD_CONFIG
        }
        Err(error) => {
            eprintln!("oxgate: cannot reach the admin interface at {address}: {error}");
            COULD_NOT_START
        }
    }
}

fn post_reload(address: std::net::SocketAddr, token: Option<&str>) -> io::Result<(u16, String)> {
    let mut socket = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    socket.set_read_timeout(Some(Duration::from_secs(60)))?;
    let authorization = token.map(|t| format!("Authorization: Bearer {t}\r\n")).unwrap_or_default();
    write!(
        socket,
        "POST /reload HTTP/1.1\r\nHost: {address}\r\n{authorization}Content-Length: 0\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Ok((status, body))
}
