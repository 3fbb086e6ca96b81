//! workspace: a pipeline, a store and a device, brought together from the arguments.

use crate::cli::args::Place;
use crate::cli::error::CliError;
use crate::cli::program::this;
use crate::cli::text;
use crate::engine::Device;
use crate::learn::device::DeviceChoice;
use crate::pipeline::{self, Loaded};
use crate::store::{Disk, Store, StoreError, StoreIo};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::env::VarError;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const LAST: &str = "last.json";
/// The file that describes a run, beside the store's own files.
pub const RESOLVED: &str = "pipeline.yaml";
/// After this many looks dcpipe says that it waits: every opening holds the store alone for a moment.
const LOOKS: u32 = 50;

/// The last arguments of `dcpipe run`; `why` and `show` start from them.
#[derive(Serialize, Deserialize, Default, Clone, PartialEq)]
pub struct LastRun {
    /// The pipeline file, as an absolute path.
    pub pipeline: PathBuf,
    /// The overrides.
    pub sets: Vec<String>,
    /// The name, if one was given.
    pub name: Option<String>,
    /// The name of the run.
    #[serde(default)]
    pub run: String,
    /// The device, resolved.
    pub device: String,
    /// The folder where the command ran; relative paths start there.
    #[serde(default)]
    pub folder: PathBuf,
    /// The environment's values of the variables that the pipeline reads from it.
    #[serde(default)]
    pub environment: Variables,
}

/// Values of variables, by name.
pub type Variables = BTreeMap<String, String>;

/// A pipeline, a store and a device.
pub struct Workspace {
    /// The pipeline, resolved and unrolled.
    pub loaded: Loaded,
    /// The open store.
    pub store: Store,
    /// What networks run on.
    pub device: Device,
    /// The environment's values of the variables that the pipeline reads from it.
    pub environment: Variables,
}

impl Workspace {
    /// Opens what the arguments name; without a pipeline, what the store's last run used.
    pub fn open(pipeline: Option<&Path>, place: &Place) -> Result<Self, CliError> {
        Self::open_while(pipeline, place, &|| true)
    }

    /// The same. A gc is waited for only while `goes_on`; then the result is [`StoreError::InUse`].
    pub fn open_while(pipeline: Option<&Path>, place: &Place, goes_on: &dyn Fn() -> bool) -> Result<Self, CliError> {
        let (pipeline, place, told) = match pipeline {
            Some(pipeline) => (pipeline.to_owned(), place.clone(), Variables::new()),
            None if let Some(resolved) = another_run(place) => (resolved, place.clone(), Variables::new()),
            None => {
                let last = last_run(&place.store)?;
                let mut place = place.clone();
                place.sets = [last.sets, place.sets].concat();
                place.name = place.name.or(last.name);
                if place.device == "auto" {
                    place.device = last.device;
                }
                place.store = std::path::absolute(&place.store).unwrap_or(place.store);
                let _ = std::env::set_current_dir(&last.folder); // Later errors name what is missing there.
                (last.pipeline, place, last.environment)
            }
        };
        let mut sets = place.sets.clone();
        // The loader's rules for a name apply to every source of it; a JSON text is a YAML text.
        sets.extend(place.name.as_ref().map(|name| format!("name={}", serde_json::Value::from(name.as_str()))));
        let asked = RefCell::new(Variables::new());
        let not_text = RefCell::new(None);
        let environment = |name: &str| {
            // The last run's value counts first, if this command refers to that run.
            let own = || match std::env::var(name) {
                Err(VarError::NotUnicode(_)) => {
                    not_text.borrow_mut().get_or_insert_with(|| name.to_owned());
                    None
                }
                value => value.ok(),
            };
            let value = told.get(name).cloned().or_else(own)?;
            asked.borrow_mut().insert(name.to_owned(), value.clone());
            Some(value)
        };
        let loaded = pipeline::load(&pipeline, &sets, (this().stages)(), &environment);
        if let Some(name) = not_text.take() {
            return Err(CliError::Usage(format!(
                "{}: the variable {name} of the environment is not UTF-8. Rename what it names, or give another value \
                 with --set vars.{name}=VALUE",
                pipeline.display()
            )));
        }
        let loaded = loaded?;
        let store = open_store(&place.store, goes_on)?;
        Ok(Self { loaded, store, device: resolve_device(&place.device)?, environment: asked.into_inner() })
    }
}

/// The resolved pipeline of the run that is named, unless that is the last one or values are overridden.
fn another_run(place: &Place) -> Option<PathBuf> {
    let name = place.name.as_ref().filter(|_| place.sets.is_empty())?;
    let is_last = last_run(&place.store).is_ok_and(|last| last.run == **name);
    let resolved = place.store.join("runs").join(name).join(RESOLVED);
    Some(resolved).filter(|resolved| !is_last && resolved.is_file())
}

/// Opens a store, and says so if it must wait for a gc.
pub fn open_store(path: &Path, goes_on: &dyn Fn() -> bool) -> Result<Store, StoreError> {
    Store::open_or_wait(path, |looks| {
        if looks == LOOKS {
            text::note(&format!("waiting for a gc of the store {}", path.display()));
        }
        goes_on()
    })
}

/// Turns `auto` into the device that would be used, and checks that a named one exists.
pub fn resolve_device(text: &str) -> Result<Device, CliError> {
    text.parse::<DeviceChoice>().map_err(|error| CliError::Usage(format!("--device: {error:#}")))?;
    (this().device)(text)
}

/// The last arguments of `dcpipe run` on this store.
pub fn last_run(store: &Path) -> Result<LastRun, CliError> {
    let path = store.join("runs").join(LAST);
    let why = match Disk.read(&path).map(|text| serde_json::from_slice(&text)) {
        Ok(Ok(last)) => return Ok(last),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            format!("nothing has run on the store {}", store.display())
        }
        Err(error) => format!("{} cannot be read: {error}", path.display()),
        Ok(Err(error)) => format!("{} cannot be read: {error}", path.display()),
    };
    Err(CliError::Usage(format!("no pipeline is named, and {why}; name a pipeline file")))
}

/// Remembers the arguments of `dcpipe run`. Without them a pipeline must be named, so a failing write is no error.
pub fn remember(store: &Store, last: &LastRun) {
    if !last_run(store.root()).is_ok_and(|known| known == *last)
        && let Ok(text) = serde_json::to_vec(last)
    {
        let _ = store.write_small(&store.root().join("runs"), LAST, &text);
    }
}
