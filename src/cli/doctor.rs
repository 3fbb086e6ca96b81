//! doctor: checks the machine and says what is well, what is slow, and what to mend.

use crate::cli::args::DoctorArgs;
use crate::cli::error::CliError;
use crate::cli::text;
use crate::image::JPEG_LIBRARY;
use crate::learn::device;
use crate::learn::torch::{self, TORCH, VOIDING};
use crate::store::{Disk, Store, StoreIo};
use std::path::Path;

/// The check warns about less free disk than this.
const DISK_LOW: u64 = 5_000_000_000;

#[derive(Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

#[derive(serde::Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

/// dcpipe doctor
pub fn doctor(args: &DoctorArgs) -> Result<(), CliError> {
    let checks = [
        ok("dcpipe", env!("CARGO_PKG_VERSION").to_owned()),
        torch(),
        blas(),
        precision(),
        ok("faiss", "1.12.0, linked statically, AVX2".to_owned()),
        ok("jpeg", format!("{JPEG_LIBRARY}, linked statically")),
        simd(),
        threads(),
        device_check(&args.device),
        store(&args.store),
        disk(&args.store),
    ];
    let text = if args.json {
        checks.iter().map(|c| format!("{}\n", serde_json::to_string(c).unwrap_or_default())).collect()
    } else {
        let word = |verdict| match verdict {
            Verdict::Ok => "OK",
            Verdict::Warn => "WARN",
            Verdict::Fail => "FAIL",
        };
        let mut rows = Vec::new();
        for check in &checks {
            rows.push(vec![word(check.verdict).to_owned(), check.name.to_owned(), check.found.clone()]);
            rows.extend(check.mend.iter().map(|mend| vec![String::new(), String::new(), format!("-> {mend}")]));
        }
        text::table(&rows)
    };
    text::out(&text)?;
    let failed: Vec<_> = checks.iter().filter(|c| c.verdict == Verdict::Fail).map(|c| c.name).collect();
    if failed.is_empty() { Ok(()) } else { Err(CliError::Environment(format!("{} failed", failed.join(", ")))) }
}

fn ok(name: &'static str, found: String) -> Check {
    Check { name, verdict: Verdict::Ok, found, mend: None }
}

fn verdict(name: &'static str, verdict: Verdict, found: String, mend: &str) -> Check {
    Check { name, verdict, found, mend: Some(mend.to_owned()) }
}

fn torch() -> Check {
    let version = torch::torch_version();
    let at = torch::torch_library().map_or("an unknown place".to_owned(), |path| path.display().to_string());
    let found = format!("{version} at {at}");
    if version == TORCH {
        ok("libtorch", found)
    } else {
        verdict("libtorch", Verdict::Fail, found, &format!("this build needs libtorch {TORCH}: run scripts/setup"))
    }
}

fn blas() -> Check {
    match torch::sgemm_library() {
        Some(path) if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libtorch_cpu")) => {
            ok("blas", format!("sgemm_ is libtorch's MKL ({})", path.display()))
        }
        Some(path) => verdict(
            "blas",
            Verdict::Warn,
            format!("sgemm_ is {}", path.display()),
            "another BLAS stands before libtorch's MKL and serves it too: take it out of LD_PRELOAD or LD_LIBRARY_PATH",
        ),
        None => verdict("blas", Verdict::Warn, "no loaded library provides sgemm_".to_owned(), "build dcpipe again"),
    }
}

/// Names the variables that would void exact labels; dcpipe removes them from its workers' environment.
fn precision() -> Check {
    let set: Vec<_> = VOIDING.into_iter().filter(|name| std::env::var_os(name).is_some()).collect();
    if set.is_empty() {
        return ok("precision", "no environment variable lowers it".to_owned());
    }
    verdict(
        "precision",
        Verdict::Warn,
        format!("{} would silently void exact labels", set.join(", ")),
        "dcpipe removes them from its workers' environment; unset them where other programs use its libraries",
    )
}

fn simd() -> Check {
    let levels = [
        ("AVX-512", std::arch::is_x86_feature_detected!("avx512f")),
        ("AVX2", std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")),
    ];
    match levels.iter().find(|(_, there)| *there) {
        Some((name, _)) => ok("simd", format!("{name}; this build uses AVX2, libtorch what there is")),
        None => verdict("simd", Verdict::Fail, "no AVX2".to_owned(), "this build needs a processor with AVX2"),
    }
}

fn threads() -> Check {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    ok("threads", format!("{cores} cores for this process"))
}

fn device_check(asked: &str) -> Check {
    match device::resolve(asked) {
        Ok(name) => ok("device", format!("{name} (for {asked})")),
        Err(error) => {
            verdict("device", Verdict::Fail, format!("{error:#}"), "use --device cpu, or scripts/setup --cuda")
        }
    }
}

fn store(path: &Path) -> Check {
    if !path.exists() {
        return ok("store", format!("{} would be made", path.display()));
    }
    match Store::open(path).and_then(|store| store.create().map(drop)) {
        Ok(()) => ok("store", format!("{} can be read and written", path.display())),
        Err(error) => verdict("store", Verdict::Fail, error.to_string(), "name another with --store"),
    }
}

fn disk(path: &Path) -> Check {
    let near = path.ancestors().find(|p| p.exists() && !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match StoreIo::free_bytes(&Disk, near) {
        Some(free) if free < DISK_LOW => verdict(
            "disk",
            Verdict::Warn,
            format!("{} free", text::bytes(free)),
            "free some, or name another disk with --store",
        ),
        Some(free) => ok("disk", format!("{} free", text::bytes(free))),
        None => verdict("disk", Verdict::Warn, "unknown".to_owned(), "the file system does not say how much is free"),
    }
}
