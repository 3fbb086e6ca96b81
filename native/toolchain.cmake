# toolchain: tells faiss's build where BLAS and LAPACK are, so that no system-wide one is looked for (see scripts/setup).
set(_native "${CMAKE_CURRENT_LIST_DIR}/../.native/lib")
set(BLAS_LIBRARIES "${_native}/libblas.a" CACHE STRING "")
set(LAPACK_LIBRARIES "${_native}/liblapack.a" CACHE STRING "")
set(FAISS_ENABLE_EXTRAS OFF CACHE BOOL "")
set(FAISS_USE_LTO OFF CACHE BOOL "")
