//! Chores. `cargo xtask` lists them.

mod walls;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    let done = match args.first().map(String::as_str) {
        Some("ci") => ci(),
        Some("walls") => walls::check(),
        Some("static") => check_static(),
        Some("bench") => bench(rest),
        _ => {
            eprintln!("cargo xtask ci | walls | static | bench [--smoke] [--rounds N] [--seconds S] [--out FOLDER]");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Everything that has to hold before a change lands, tests first.
fn ci() -> Result<()> {
    cargo(&["test", "--workspace"], &[])?;
    cargo(&["fmt", "--all", "--check"], &[])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], &[])?;
    walls::check()?;
    cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"], &[("RUSTDOCFLAGS", "-D warnings")])?;
    cargo(&["build", "--release", "-p", "oxgate", "-p", "bench"], &[])?;
    check_static()?;
    bench(&["--smoke".to_owned()])
}

fn cargo(args: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    println!("$ cargo {}", args.join(" "));
    let status = Command::new("cargo").args(args).envs(variables.iter().copied()).current_dir(root()).status()?;
    if status.success() { Ok(()) } else { Err(format!("cargo {} failed", args.join(" ")).into()) }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// The folder of release binaries, which lies under the name of the target.
fn release_folder() -> Result<PathBuf> {
    let output = Command::new("rustc").arg("-vV").output()?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|l| l.strip_prefix("host: ")).ok_or("rustc names no host")?;
    Ok(root().join("target").join(host).join("release"))
}

/// The release binary needs no library and runs in an empty root.
fn check_static() -> Result<()> {
    let binary = release_folder()?.join("oxgate");
    let output = Command::new("ldd").arg(&binary).output()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    if !text.contains("statically linked") && !text.contains("not a dynamic executable") {
        return Err(format!("the release binary is not static: {text}").into());
    }
    let size = std::fs::metadata(&binary)?.len();
    println!("static, {:.2} MB", size as f64 / 1e6);
    let empty = root().join("target/empty-root");
    std::fs::create_dir_all(&empty)?;
    std::fs::copy(&binary, empty.join("oxgate"))?;
    let alone = Command::new("chroot").arg(&empty).args(["/oxgate", "version"]).output()?;
    if alone.status.success() {
        println!("runs in an empty root: {}", String::from_utf8_lossy(&alone.stdout).trim());
        return Ok(());
    }
    if String::from_utf8_lossy(&alone.stderr).contains("not permitted") {
        println!("skipped: changing the root needs privileges");
        return Ok(());
    }
    Err(format!("it does not run in an empty root: {}", String::from_utf8_lossy(&alone.stderr)).into())
}

fn bench(args: &[String]) -> Result<()> {
    cargo(&["build", "--release", "-p", "oxgate", "-p", "bench"], &[])?;
    let folder = release_folder()?;
    let status =
        Command::new(folder.join("bench")).arg("run").arg("--oxgate").arg(folder.join("oxgate")).args(args).status()?;
    if status.success() { Ok(()) } else { Err("the benchmark failed".into()) }
}
