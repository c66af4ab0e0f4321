//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::net::SocketAddr;
use std::path::PathBuf;

/// An API gateway: one static binary in front of every API call.
#[derive(Debug, Parser)]
#[command(name = "oxgate", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway.
    Run(RunArgs),
    /// Check a configuration without running it; exit 0 or 1.
    Check(CheckArgs),
    /// Say which route a request takes, and why.
    Explain(ExplainArgs),
    /// Run as a plain reverse proxy, without a configuration file.
    Proxy(ProxyArgs),
    /// Run a gateway in front of built-in sample origins.
    Demo(DemoArgs),
    /// Print the JSON Schema of the configuration.
    Schema,
    /// Have a running gateway read its configuration again.
    Reload(ReloadArgs),
    /// Print the version.
    Version,
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// Which configuration.
#[derive(Args, Debug)]
pub struct ConfigArgs {
    /// The configuration file [default: ./oxgate.yaml, then /etc/oxgate/oxgate.yaml].
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// How many threads serve.
#[derive(Args, Debug)]
pub struct WorkerArgs {
    /// Threads that serve [default: one per core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,
}

/// `oxgate run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// How many threads serve.
    #[command(flatten)]
    pub workers: WorkerArgs,
}

/// `oxgate check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Print the configuration with every default in place.
    #[arg(long)]
    pub print_effective: bool,
    /// How to print diagnostics.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// How to print diagnostics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// `oxgate explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// The request's method.
    pub method: String,
    /// Its URL, or its path.
    pub url: String,
    /// A field, as in `-H 'x-tier: gold'`.
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    pub headers: Vec<String>,
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// `oxgate proxy`.
#[derive(Args, Debug)]
pub struct ProxyArgs {
    /// Where to listen.
    #[arg(long, value_name = "ADDR")]
    pub listen: String,
    /// The upstream, as `http://host:port`.
    #[arg(long, value_name = "URL")]
    pub to: String,
    /// Where to serve health and metrics [default: nowhere].
    #[arg(long, value_name = "ADDR")]
    pub status: Option<SocketAddr>,
    /// How many threads serve.
    #[command(flatten)]
    pub workers: WorkerArgs,
}

/// `oxgate demo`.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Where to listen.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Where to serve health and metrics.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7701")]
    pub status: SocketAddr,
}

/// `oxgate reload`.
#[derive(Args, Debug)]
pub struct ReloadArgs {
    /// Which configuration; it says where the admin interface is and what its token is.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The admin interface, instead of what the configuration says.
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<SocketAddr>,
    /// Its token, instead of what the configuration says.
    #[arg(long, value_name = "TOKEN", env = "OXGATE_ADMIN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}
