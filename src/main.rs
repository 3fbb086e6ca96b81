//! main: the program that people call. It does all that needs no network itself. Loading libtorch would take longer
//! than everything else, so `dcpipe-native` beside it does the work.

fn main() -> std::process::ExitCode {
    dcpipe::cli::main(&dcpipe::cli::LIGHT)
}
