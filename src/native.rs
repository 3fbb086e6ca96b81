//! native: the program itself: hands its arguments to the cli and turns the outcome into an exit code.

fn main() -> std::process::ExitCode {
    dcpipe::cli::main()
}
