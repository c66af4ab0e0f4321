//! The `oxgate` binary.

fn main() -> std::process::ExitCode {
    oxgate::main()
}
