//! build: compiles the JPEG room's C shim and writes the run path that lets the binary find libtorch by itself.

fn main() {
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    println!("cargo:rerun-if-changed=build.rs");
    // faiss's link line names blas and lapack; scripts/setup made archives of that name (native/lapack_absent.c).
    println!("cargo:rustc-link-search=native={root}/.native/lib");
    // DT_RPATH, not DT_RUNPATH, as torch's own libraries have it: an LD_LIBRARY_PATH with another torch cannot win.
    println!("cargo:rustc-link-arg=-Wl,--disable-new-dtags");
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../../.native/torch/lib:{root}/.native/torch/lib");
    // libtorch_cpu.so finds libcudart and libcupti through its own run path; the linker need not.
    println!("cargo:rustc-link-arg=-Wl,--allow-shlib-undefined");
}
