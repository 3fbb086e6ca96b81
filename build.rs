//! build: compiles the image room's C shim and writes the run path that lets the binary find libtorch by itself.

use std::path::PathBuf;

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
    std::fs::copy(&archive, out.join("libjpeg.a")).expect("libjpeg.a can be copied");
    println!("cargo:rustc-link-search=native={}", out.display());
    println!("cargo:rustc-link-lib=static=jpeg");
}
