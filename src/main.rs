//! main: the program that people call. All that needs no network it does itself, without loading libtorch, which takes
//! longer than everything else that it does; `dcpipe-native`, which stands beside it, works for it.

fn main() -> std::process::ExitCode {
    dcpipe::cli::main(&dcpipe::cli::LIGHT)
}
