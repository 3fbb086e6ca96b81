//! assign: takes new images to the clusters of a finished run, as a run of its own.

mod model;
mod output;

use crate::base::clock::unix_ms;
use crate::cli::args::{AssignArgs, Place, RunArgs};
use crate::cli::error::CliError;
use crate::cli::program::this;
use crate::cli::run::{apart, on, until_stopped};
use crate::cli::verify::check_there;
use crate::cli::workspace::{RESOLVED, Variables, Workspace, open_store, resolve_device};
use crate::cli::{runs, text};
use crate::engine::{Cancel, Plan};
use crate::format::assignments::ASSIGNMENTS as TABLE;
use crate::format::dataset::BAD;
use crate::pipeline::ASSIGNMENTS;
use crate::store::Record;
use model::Model;
use output::Output;
use std::path::Path;

/// dcpipe assign
pub fn assign(args: &AssignArgs) -> Result<(), CliError> {
    until_stopped(|cancel, _| until(args, cancel))
}

/// Assigns until the end or a request to stop. Whatever can be refused is refused before anything runs.
fn until(args: &AssignArgs, cancel: &Cancel) -> Result<(), CliError> {
    check_there(&args.store)?;
    let mut store = open_store(&args.store, &|| !cancel.is_requested())?;
    runs::check(&args.store, &args.run)?;
    let run = runs::plan(&args.store, &args.run)?;
    let name = args.name.clone().unwrap_or_else(|| format!("{}-assign", args.run));
    check_name(&args.store, &args.run, &name)?;
    apart("--out", &args.how.out.join(&name), store.root())?;
    let output = args.output.as_deref().map(|path| Output::at(path, store.root())).transpose()?;
    let images = folder(&args.images)?;

    store.look_closely(args.how.verify.policy(), unix_ms());
    let model = Model::of(&store, &args.run, &run, args.epoch)?;
    check_sets(&args.sets, &run.node(model.route.dataset).noun)?;
    let key = |id| model.key_text(id);
    let loaded = model.route.load(&run, &name, &images, &key, &args.sets, (this().stages)())?;
    if !args.how.quiet {
        text::note(&model.told());
    }
    let device = resolve_device(&args.device)?;
    let space = Workspace { loaded, store, device, environment: Variables::new() };
    let done = on(&space, &as_run(args, &name), None, cancel).and_then(|()| finish(&space, args, output.as_ref()));
    space.store.close();
    done
}

/// The same as arguments of a run.
fn as_run(args: &AssignArgs, name: &str) -> RunArgs {
    RunArgs {
        pipeline: args.store.join("runs").join(name).join(RESOLVED),
        place: Place { sets: Vec::new(), store: args.store.clone(), name: None, device: args.device.clone() },
        to: Vec::new(),
        how: args.how.clone(),
    }
}

/// Refuses the name of a run that is something else: this command would replace what it references.
fn check_name(store: &Path, run: &str, name: &str) -> Result<(), CliError> {
    let is_ours = |plan: Plan| plan.find(ASSIGNMENTS).is_ok();
    if name == run
        || (runs::names(store).iter().any(|known| known == name) && !runs::plan(store, name).is_ok_and(is_ours))
    {
        return Err(CliError::Usage(format!(
            "there is a run {name} that assigns nothing; give this one another name with --name"
        )));
    }
    Ok(())
}

/// Refuses overrides after which images would go another way than those of the run.
fn check_sets(sets: &[String], scan: &str) -> Result<(), CliError> {
    let is_of_scan = |set: &&String| set.strip_prefix(scan).is_some_and(|rest| rest.starts_with('.'));
    sets.iter().find(|set| !is_of_scan(set)).map_or(Ok(()), |set| {
        Err(CliError::Usage(format!(
            "--set {set}: new images go the way of the run's; only the scan has values to override, as {scan}.NAME=VALUE"
        )))
    })
}

/// The folder of the images, as a pipeline names it.
fn folder(images: &Path) -> Result<String, CliError> {
    let refuse = |why: &str| CliError::Usage(format!("--images {}: {why}", images.display()));
    let found = std::fs::metadata(images).map_err(|error| refuse(&error.to_string()))?;
    if !found.is_dir() {
        return Err(refuse("it is no folder; name a folder of images"));
    }
    let path = std::path::absolute(images).map_err(|error| refuse(&error.to_string()))?;
    path.into_os_string().into_string().map_err(|_| refuse("its path is not UTF-8; rename it"))
}

/// Writes the table where it was asked for, and reports where it is and how many images it has.
fn finish(space: &Workspace, args: &AssignArgs, output: Option<&Output>) -> Result<(), CliError> {
    let (assigned, scanned) = (made_by(space, "assign")?, made_by(space, "scan")?);
    let name = &space.loaded.plan.name;
    let in_results = args.how.out.join(name).join(ASSIGNMENTS).join(TABLE.file);
    if let Some(output) = output {
        output.write(&space.store, &assigned.artifact)?;
    }
    if !args.how.quiet {
        let path = args.output.as_deref().unwrap_or(&in_results).display();
        let images = scanned.facts.get("images").copied().unwrap_or_default();
        let left_out: u64 =
            scanned.facts.iter().filter(|(fact, _)| fact.starts_with("left_out.")).map(|(_, n)| n).sum();
        let without = match left_out {
            0 => String::new(),
            _ => format!("; {left_out} left out, which {} lists", args.how.out.join(name).join(BAD.file).display()),
        };
        let noun = if images == 1 { "image" } else { "images" };
        text::note(&format!("{path}: the clusters of {images} {noun}{without}"));
    }
    Ok(())
}

/// The record of the node with a verb, after the run.
fn made_by(space: &Workspace, verb: &str) -> Result<Record, CliError> {
    let (store, plan) = (&space.store, &space.loaded.plan);
    let node = plan.order().iter().map(|id| plan.node(*id)).find(|node| node.stage.def().verb == verb);
    let node = node.expect("BUG: the pipeline has a node of each verb").name();
    let key = store.node_keys(&plan.name).get(&node).copied();
    let record = key.map(|key| store.record(key)).transpose()?.flatten();
    record.ok_or_else(|| CliError::Artifact(format!("the record of {node} is missing; run the same command again")))
}
