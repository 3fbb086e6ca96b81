//! gc: deletes records and objects that no run or pin references.

use crate::cli::args::{GcArgs, PinArgs};
use crate::cli::error::CliError;
use crate::cli::verify::{check_there, existing};
use crate::cli::{runs, text};
use crate::store::{GcPlan, Store, StoreError, quarantined_object};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// How often a waiting gc checks whether the store is free.
const LOOK: Duration = Duration::from_millis(200);

/// dcpipe gc
pub fn gc(args: &GcArgs) -> Result<(), CliError> {
    let store = if args.dry_run { existing(&args.store)? } else { alone(args)? };
    args.drop.iter().try_for_each(|run| runs::check(&args.store, run))?;
    let plan = store.gc_plan(args.last, &args.drop)?;
    // A quarantined file shows that its object was damaged, not evicted, until the object is rebuilt.
    let owed = |(path, _): &(PathBuf, u64)| quarantined_object(path).is_some_and(|o| plan.missing.contains(&o));
    let (owed, quarantined): (Vec<_>, Vec<_>) = store.quarantined().into_iter().partition(owed);
    let mut told = describe(&plan, args.dry_run);
    let shared = plan.bytes_shared(&store);
    if shared > 0 {
        told.push_str(&format!(
            "{} of it are also linked from results, and take space until those are deleted\n",
            text::bytes(shared)
        ));
    }
    let bytes = |files: &[(PathBuf, u64)]| text::bytes(files.iter().map(|(_, bytes)| bytes).sum());
    if !quarantined.is_empty() {
        let what = match (args.quarantine, args.dry_run) {
            (false, _) => "--quarantine deletes them",
            (true, false) => "deleted",
            (true, true) => "would be deleted",
        };
        told.push_str(&format!("{} files in quarantine ({}); {what}\n", quarantined.len(), bytes(&quarantined)));
    }
    if !owed.is_empty() {
        let count = owed.len();
        told.push_str(&format!(
            "{count} quarantined files ({}) are kept until their objects are rebuilt\n",
            bytes(&owed)
        ));
    }
    if !args.dry_run {
        store.gc(&plan)?;
        for run in &plan.runs {
            runs::forget(&store.run_folder(run));
        }
        if args.quarantine {
            for (path, _) in quarantined {
                let gone = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path));
                gone.map_err(|error| CliError::Files(format!("could not delete {}: {error}", path.display())))?;
            }
        }
    }
    text::out(&told)
}

/// Opens the store with no other process in it.
fn alone(args: &GcArgs) -> Result<Store, CliError> {
    check_there(&args.store)?;
    loop {
        match Store::open_alone(&args.store) {
            Err(StoreError::InUse { .. }) if args.wait => std::thread::sleep(LOOK),
            opened => return Ok(opened?),
        }
    }
}

fn describe(plan: &GcPlan, dry: bool) -> String {
    let mut by_noun: BTreeMap<&str, u64> = BTreeMap::new();
    for (node, bytes) in &plan.by_node {
        let noun = node.split('@').next().filter(|noun| !noun.is_empty()).unwrap_or("of no record");
        *by_noun.entry(noun).or_default() += bytes;
    }
    let mut rows: Vec<Vec<String>> =
        by_noun.iter().map(|(noun, bytes)| vec![(*noun).to_owned(), text::bytes(*bytes)]).collect();
    if !rows.is_empty() {
        rows.insert(0, vec!["of".to_owned(), "bytes".to_owned()]);
    }
    let mut told = text::table(&rows);
    for run in &plan.runs {
        told.push_str(&format!("run {run} is discarded\n"));
    }
    if plan.damaged > 0 {
        told.push_str(&format!("{} damaged records count as missing; dcpipe verify names them\n", plan.damaged));
    }
    told.push_str(&format!(
        "{} {} records and {} objects, {}; {} are kept\n",
        if dry { "would delete" } else { "deleted" },
        plan.records.len(),
        plan.objects.len(),
        text::bytes(plan.bytes()),
        text::bytes(plan.kept)
    ));
    told
}

/// dcpipe pin
pub fn pin(args: &PinArgs) -> Result<(), CliError> {
    let store = existing(&args.store)?;
    if let Some(pin) = &args.remove {
        let there = store.unpin(&named(pin)?)?;
        return if there { Ok(()) } else { Err(CliError::Usage(format!("there is no pin {pin}"))) };
    }
    if let Some(run) = &args.run {
        runs::check(&args.store, run)?;
        let name = named(args.name.as_ref().unwrap_or(run))?;
        let Some(pin) = store.pin(&name, run)? else {
            return Err(CliError::Usage(format!(
                "pin {name} already protects another state of run {run}. Choose another name with --as, or run \
                 dcpipe pin --remove {name}"
            )));
        };
        return text::out(&format!("{name}: {} nodes of run {run} are pinned\n", pin.nodes.len()));
    }
    let mut rows = vec![["pin", "run", "nodes"].map(str::to_owned).to_vec()];
    rows.extend(store.pins()?.into_iter().map(|(name, pin)| vec![name, pin.run, pin.nodes.len().to_string()]));
    text::out(&text::table(&rows))
}

fn named(name: &str) -> Result<String, CliError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts && name.len() <= 64 && name.chars().all(fits) {
        return Ok(name.to_owned());
    }
    Err(CliError::Usage(format!("{name:?} cannot name a pin: up to 64 letters, digits, dots, - and _")))
}
