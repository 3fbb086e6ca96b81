//! serve: the run's page over HTTP, until Ctrl-C.

use crate::cli::args::ServeArgs;
use crate::cli::error::CliError;
use crate::cli::verify::check_there;
use crate::cli::workspace::last_run;
use crate::cli::{runs, text};
use crate::engine::journal;
use crate::views::serve::{Place, Server, Site, Stop};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// dcpipe serve
pub fn serve(args: &ServeArgs) -> Result<(), CliError> {
    check_there(&args.store)?;
    // The plan loads, so the server can start; it reads the plan again whenever that changes.
    let (name, _) = runs::named(&args.store, args.run.as_ref())?;
    let store = std::path::absolute(&args.store).unwrap_or_else(|_| args.store.clone());
    let load = {
        let (store, name) = (store.clone(), name.clone());
        move || runs::plan(&store, &name).map_err(anyhow::Error::from)
    };
    let place = Place {
        run: store.join("runs").join(&name),
        journal: args.out.join(&name).join(journal::FILE),
        base: folder_of(args, &name),
        epoch: args.epoch,
        store,
    };
    let site = Site::of(place, Box::new(load));
    if args.epoch.is_some() {
        site.check().map_err(|error| CliError::Usage(format!("{error:#}")))?;
    }
    let server = Server::bind(args.address, site).map_err(|error| refused(args.address, &error))?;
    let environment = |error: io::Error| CliError::Environment(format!("the server could not start: {error}"));
    let address = server.address().map_err(environment)?;
    listen(server.stop()).map_err(environment)?;
    let page = format!("http://{address}/");
    text::out(&format!("{page}\n"))?;
    text::note(&format!("serving the run {name}; Ctrl-C ends it"));
    if !address.ip().is_loopback() {
        text::note("other machines reach this address: whoever does sees the images");
    }
    if args.open {
        open(&page);
    }
    server.run().map_err(environment)
}

/// Where the run began: relative paths in its pipeline start there. Only the store's last run is known to have one.
fn folder_of(args: &ServeArgs, name: &str) -> PathBuf {
    let last = last_run(&args.store).ok().filter(|last| last.run == name && last.folder.is_absolute());
    last.map_or_else(|| std::env::current_dir().unwrap_or_default(), |last| last.folder)
}

fn refused(address: SocketAddr, error: &io::Error) -> CliError {
    let what = match error.kind() {
        ErrorKind::AddrInUse => "another program listens there, perhaps another dcpipe serve",
        ErrorKind::PermissionDenied => "the system keeps ports below 1024 for root",
        ErrorKind::AddrNotAvailable => "this machine has no such address",
        _ => "the system refuses it",
    };
    let free = SocketAddr::new(address.ip(), 0);
    let free = if error.kind() == ErrorKind::AddrNotAvailable { SocketAddr::from(([127, 0, 0, 1], 0)) } else { free };
    CliError::Environment(format!(
        "could not listen at {address}: {what} ({error}). Name another address; this takes a free port: --address {free}"
    ))
}

/// Ends the server at the first signal. Nothing is lost: it writes nothing.
fn listen(stop: Stop) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let wait = move || signals.forever().for_each(|_| stop.request());
    std::thread::Builder::new().spawn(wait).map(drop)
}

/// Starts the browser and does not wait for it.
fn open(page: &str) {
    let mut browser = Command::new("xdg-open");
    let started = browser.arg(page).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    if let Err(error) = started {
        text::note(&format!("could not start a browser with xdg-open: {error}; open the address yourself"));
    }
}
