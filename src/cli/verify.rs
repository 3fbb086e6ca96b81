//! verify: checks every file of a store and names what is damaged.

use crate::base::clock::unix_ms;
use crate::cli::args::VerifyArgs;
use crate::cli::error::CliError;
use crate::cli::text;
use crate::cli::workspace::open_store;
use crate::store::{Store, blocked};
use std::io::{IsTerminal, Write};

/// How many unknown files are named.
const NAMED: usize = 20;

/// dcpipe verify
pub fn verify(args: &VerifyArgs) -> Result<(), CliError> {
    let sample = share(&args.sample)?;
    let store = existing(&args.store)?;
    let bar = std::io::stderr().is_terminal();
    let mut tell = |at: usize, total: usize| {
        if bar && at.is_multiple_of(64) {
            let _ = write!(std::io::stderr(), "\r{at} of {total} files");
        }
    };
    let found = store.verify_all(sample, unix_ms(), &mut tell)?;
    if bar {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    let told = if args.json {
        text::out(&format!(
            "{}\n",
            serde_json::json!({ "records": found.records, "objects": found.objects, "bytes": found.bytes,
                                "unread": found.unread, "evicted": found.evicted, "wrong": found.wrong,
                                "unknown": found.unknown })
        ))
    } else {
        let mut told: String = found.wrong.iter().map(|what| format!("{what}\n")).collect();
        for path in found.unknown.iter().take(NAMED) {
            told.push_str(&format!("{} is not a file of dcpipe; it is left untouched\n", path.display()));
        }
        if found.unknown.len() > NAMED {
            told.push_str(&format!("and {} more files that are not of dcpipe\n", found.unknown.len() - NAMED));
        }
        let unread =
            if found.unread > 0 { format!(", {} are outside the sample", found.unread) } else { String::new() };
        told.push_str(&format!(
            "{} records and {} objects ({}) are intact{unread}; {} objects are evicted\n",
            found.records,
            found.objects,
            text::bytes(found.bytes),
            found.evicted
        ));
        text::out(&told)
    };
    // The exit code reports damage as well: the next check does not find the files that this one moved.
    match found.wrong.len() {
        0 => told,
        wrong => Err(CliError::Artifact(format!(
            "{wrong} damaged in {}. What could be moved is in its quarantine/; the next run rebuilds what it needs",
            args.store.display()
        ))),
    }
}

/// Opens an existing store.
pub fn existing(path: &std::path::Path) -> Result<Store, CliError> {
    check_there(path)?;
    Ok(open_store(path, &|| true)?)
}

/// Refuses a folder without a store: a typing error must not make a new one.
pub fn check_there(path: &std::path::Path) -> Result<(), CliError> {
    let store = path.display();
    match path.join("FORMAT").try_exists() {
        Ok(true) => Ok(()),
        Ok(false) => Err(CliError::Usage(format!("there is no store at {store}; name one with --store"))),
        Err(error) => {
            let why = blocked::why(path, &error);
            Err(CliError::Usage(format!("could not look into the store {store}: {why}; name another with --store")))
        }
    }
}

fn share(text: &str) -> Result<f64, CliError> {
    let number = text.strip_suffix('%').unwrap_or(text).parse::<f64>().ok();
    let share = number.map(|number| if text.ends_with('%') { number / 100.0 } else { number });
    share.filter(|share| *share > 0.0 && *share <= 1.0).ok_or_else(|| {
        CliError::Usage(format!("--sample {text} is not a share; write 5%, or a number above 0 up to 1"))
    })
}
