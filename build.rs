//! build: compiles the image room's C shim and writes the run path that lets the binary find libtorch by itself.

use std::path::{Path, PathBuf};

fn main() {
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    println!("cargo:rerun-if-changed=build.rs");
    jpeg();
    // faiss's link line names blas and lapack; scripts/setup made archives of that name (native/lapack_absent.c).
    println!("cargo:rustc-link-search=native={root}/.native/lib");
    // DT_RPATH, not DT_RUNPATH, as torch's own libraries have it: an LD_LIBRARY_PATH with another torch cannot win.
    println!("cargo:rustc-link-arg=-Wl,--disable-new-dtags");
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../../.native/torch/lib:{root}/.native/torch/lib");
    // libtorch_cpu.so finds libcudart and libcupti through its own run path; the linker need not.
    println!("cargo:rustc-link-arg=-Wl,--allow-shlib-undefined");
    // dcpipe refers to no library of dcpipe-native's, so lld drops them; but not as long as it would offer them the
    // template functions that they have in common. tests/suite/noop.rs looks whether it worked.
    println!("cargo:rustc-link-arg-bin=dcpipe=-Wl,--exclude-libs,ALL");
}

/// The shim, and libjpeg-turbo as an archive, so that the binary carries the decoder that its crops depend on.
fn jpeg() {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    println!("cargo:rerun-if-changed=native/jpeg.c");
    let mut shim = cc::Build::new();
    shim.file("native/jpeg.c").extra_warnings(true).compile("dcpipe_jpeg");
    let asked =
        shim.get_compiler().to_command().arg("-print-file-name=libjpeg.a").output().expect("the C compiler runs");
    let archive = PathBuf::from(String::from_utf8_lossy(&asked.stdout).trim());
    assert!(archive.is_absolute(), "libjpeg.a is missing: run scripts/setup, or install libjpeg-dev (Debian, Ubuntu)");
    println!("cargo:rerun-if-changed={}", archive.display());
    println!("cargo:rustc-env=DCPIPE_LIBJPEG_TURBO={}", jpeg_version(&out));
    std::fs::copy(&archive, out.join("libjpeg.a")).expect("libjpeg.a can be copied");
    println!("cargo:rustc-link-search=native={}", out.display());
    println!("cargo:rustc-link-lib=static=jpeg");
}

/// The version that the header beside the archive states, such as `2.1.5`.
fn jpeg_version(out: &Path) -> String {
    const MARK: &str = "dcpipe_libjpeg_turbo";
    let asks = out.join("version.c");
    let code = format!("#include <stdio.h>\n#include <jpeglib.h>\n{MARK} LIBJPEG_TURBO_VERSION\n");
    std::fs::write(&asks, code).expect("OUT_DIR can be written");
    let expanded = String::from_utf8(cc::Build::new().file(&asks).expand()).expect("headers are text");
    let behind = expanded.rsplit(MARK).next().unwrap_or_default();
    // The preprocessor may say between the two words which file the second came from.
    let version = behind.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let version = version.unwrap_or_default().to_owned();
    let sound = version.starts_with(|c: char| c.is_ascii_digit());
    assert!(sound, "jpeglib.h is not libjpeg-turbo's: run scripts/setup, or install libjpeg-dev (Debian, Ubuntu)");
    version
}
