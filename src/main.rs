use std::process::ExitCode;

fn main() -> ExitCode {
    opsrun::cli::main()
}
