//! The gateway and those it is measured against, configured alike.

use crate::Result;
use crate::process::{Process, free_address, pinned};
use crate::run::Options;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Routes loaded into every proxy.
pub(crate) const ROUTES: usize = 100;

/// Starts the relay, the gateway, where given the gateway as it was before, and the rivals that are
/// installed, all in front of one origin.
pub(crate) fn start(options: &Options, folder: &Path, origin: SocketAddr) -> Result<Vec<Process>> {
    let mut all = Vec::new();
    let address = free_address()?;
    let mut relay = pinned(0, &std::env::current_exe()?);
    all.push(Process::start("relay", relay.args(["relay", &address.to_string(), &origin.to_string()]), address)?);
    all.push(oxgate("oxgate", &options.oxgate, folder, origin, ROUTES)?);
    if let Some(before) = &options.before {
        all.push(oxgate("before", before, folder, origin, ROUTES)?);
    }
    all.extend(nginx(folder, origin)?);
    all.extend(haproxy(folder, origin)?);
    Ok(all)
}

/// A gateway with one worker.
pub(crate) fn oxgate(
    name: &'static str,
    program: &Path,
    folder: &Path,
    origin: SocketAddr,
    routes: usize,
) -> Result<Process> {
    let (address, config) = config(folder, name, origin, routes)?;
    Process::start(name, gateway(&mut pinned(0, program), &config), address)
}

/// The arguments of a gateway with one worker.
pub(crate) fn gateway<'c>(command: &'c mut Command, config: &Path) -> &'c mut Command {
    command.args(["run", "--workers", "1", "-c"]).arg(config)
}

/// Writes a configuration of the gateway; gives the address that it listens on and the file.
pub(crate) fn config(folder: &Path, name: &str, origin: SocketAddr, routes: usize) -> Result<(SocketAddr, PathBuf)> {
    let address = free_address()?;
    let mut text = format!(
        "version: 1\nlisteners: {{ web: {{ address: \"{address}\" }} }}\nadmin: {{ address: off }}\nstatus: {{ address: \"127.0.0.1:0\" }}\n\
         upstreams: {{ origin: {{ endpoints: [\"http://{origin}\"] }} }}\nroutes:\n  all: {{ match: \"/*\", to: origin }}\n"
    );
    for i in 1..routes {
        text.push_str(&format!("  svc{i}: {{ match: \"/svc{i}/*\", to: origin }}\n"));
    }
    let file = folder.join(format!("{name}-{routes}.yaml"));
    fs::write(&file, text)?;
    Ok((address, file))
}

fn nginx(folder: &Path, origin: SocketAddr) -> Result<Option<Process>> {
    let Some(program) = found("nginx", "/usr/sbin/nginx") else { return Ok(None) };
    let (address, config) = (free_address()?, folder.join("nginx.conf"));
    let path = |i| if i == 0 { "/".to_owned() } else { format!("/svc{i}/") };
    let routes: String =
        (0..ROUTES).map(|i| format!("        location {} {{ proxy_pass http://origin; }}\n", path(i))).collect();
    fs::write(&config, fill(include_str!("../rivals/nginx.conf"), folder, origin, address, &routes))?;
    Process::start_parent("nginx", pinned(0, &program).arg("-c").arg(&config), address).map(Some)
}

fn haproxy(folder: &Path, origin: SocketAddr) -> Result<Option<Process>> {
    let Some(program) = found("haproxy", "/usr/sbin/haproxy") else { return Ok(None) };
    let (address, config) = (free_address()?, folder.join("haproxy.cfg"));
    let routes: String = (1..ROUTES).map(|i| format!("    use_backend origin if {{ path_beg /svc{i}/ }}\n")).collect();
    let routes = format!("{routes}    default_backend origin\n");
    fs::write(&config, fill(include_str!("../rivals/haproxy.cfg"), folder, origin, address, &routes))?;
    Process::start("haproxy", pinned(0, &program).args(["-q", "-db", "-f"]).arg(&config), address).map(Some)
}

fn fill(template: &str, folder: &Path, origin: SocketAddr, address: SocketAddr, routes: &str) -> String {
    template
        .replace("{dir}", &folder.display().to_string())
        .replace("{origin}", &origin.port().to_string())
        .replace("{port}", &address.port().to_string())
        .replace("{routes}", routes)
}

/// A rival that is installed, or a word that it is not.
fn found(name: &str, path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(path);
    if !path.exists() {
        println!("left out: {name} is not installed");
        return None;
    }
    Some(path)
}
