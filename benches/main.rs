//! main: one program for all questions of this folder: it measures alone, or as one side of a comparison.
//!
//!   cargo bench --locked --bench bench -- kmeans|whiten|noop [...]     alone: see the question's file
//!   bench one QUESTION key=value ...                                   one repetition, for benches/run.py
//!   bench environment                                                  what dcpipe sets for its worker
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark speaks to a person and may stop")]

mod crops;
mod kmeans;
mod network;
mod noop;
mod rows;
mod side;
mod whiten;

use side::Settings;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["one", question, settings @ ..] => {
            // As a run's worker, which gives libtorch as many threads as there are cores.
            let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            tch::set_num_threads(cores as i32);
            let settings = Settings::of(settings);
            match *question {
                "crops" => crops::one(&settings),
                "kmeans" => kmeans::one(&settings),
                "network" => network::one(&settings),
                "noop" => noop::one(&settings),
                "rows" => rows::one(&settings),
                "whiten" => whiten::one(&settings),
                other => panic!("there is no question {other}"),
            }
        }
        ["environment"] => {
            let mut environment = vec![("OMP_WAIT_POLICY", "passive")];
            environment.extend(dcpipe::learn::torch::reproducible());
            let environment: std::collections::BTreeMap<_, _> = environment.into_iter().collect();
            println!("{}", serde_json::to_string(&environment).unwrap());
        }
        ["kmeans", numbers @ ..] => kmeans::alone(numbers),
        ["whiten", settings @ ..] => whiten::alone(settings),
        ["noop", settings @ ..] => noop::alone(settings),
        // `cargo bench` asks for nothing: the comparison is `make bench`.
        _ => println!("bench kmeans | whiten | noop [...], or: make bench"),
    }
}
