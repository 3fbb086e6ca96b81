//! text: how numbers and complaints look, and the one way to standard output.

use crate::cli::error::CliError;
use std::io::Write;

/// Prints to standard output. A reader that went away ends the command quietly.
pub fn out(text: &str) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|_| CliError::Pipe)
}

/// Tells a person something on standard error.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "dcpipe: {text}");
}

/// An error as a person sees it.
pub fn complaint(error: &CliError) -> String {
    match error {
        CliError::Interrupted { .. } => format!("dcpipe: {error}"),
        _ => format!("dcpipe: error: {error}"),
    }
}

/// 1234567 as "1.2 MB".
pub fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1000.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

/// 75.3 as "1m 15s".
pub fn seconds(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..=59 => format!("{seconds:.1}s"),
        60..=3599 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3600, whole / 60 % 60),
    }
}

/// A table with its columns lined up; the first row is the head.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|row| row.get(c)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|c| width(c).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}
