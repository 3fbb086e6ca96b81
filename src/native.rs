//! native: the same program with libtorch, faiss and libjpeg: it also runs stages.

fn main() -> std::process::ExitCode {
    dcpipe::cli::main(&dcpipe::cli::NATIVE)
}
