//! text: how numbers and complaints look, and the one way to standard output.

use crate::cli::error::CliError;
use std::borrow::Cow;
use std::io::Write;

/// Prints to standard output. A closed reader ends the command quietly; a full disk does not.
pub fn out(text: &str) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(plain(text).as_bytes()).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => CliError::Pipe,
        _ => CliError::Files(format!("could not write to standard output: {error}")),
    })
}

/// Reports something to a person on standard error.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "dcpipe: {}", plain(text));
}

/// An error in the form that a person sees.
pub fn complaint(error: &CliError) -> String {
    let text = error.to_string();
    match error {
        CliError::Interrupted { .. } => format!("dcpipe: {}", plain(&text)),
        _ => format!("dcpipe: error: {}", plain(&text)),
    }
}

/// The text with its control characters spelled out. A file name or a table cell may contain some, and a terminal obeys
/// them.
pub fn plain(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let spell = |c: char| if obeyed(c) { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(spell).collect())
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

/// 4.0 as "4", and 0.43219 as "0.4322".
pub fn number(value: f64) -> String {
    let is_whole = value.fract() == 0.0 && value.abs() < 1e15;
    if is_whole { format!("{value:.0}") } else { format!("{value:.4}") }
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

/// A table with aligned columns; the first row is the head. Line ends in cells are spelled out.
pub fn table(rows: &[Vec<String>]) -> String {
    let spelled = |cell: &String| if cell.contains('\n') { cell.replace('\n', "\\n") } else { cell.clone() };
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(spelled).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|row| row.get(c)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|c| width(c).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}
