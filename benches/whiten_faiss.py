"""whiten_faiss: the peer of benches/whiten.rs: faiss-cpu's PCAMatrix and L2 normalisation on the same features.

    cargo bench --bench whiten -- 20000 4096 256 decaying --keep target/features.f32
    python benches/whiten_faiss.py target/features.f32 4096 256

Prints time and the process's largest memory; faiss needs all rows at once.
"""
import resource
import sys
import time

import faiss
import numpy as np

path, dims, dims_out = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rows = np.fromfile(path, "float32").reshape(-1, dims)
start = time.perf_counter()
pca = faiss.PCAMatrix(dims, dims_out, -0.5)
pca.train(rows)
fitted = time.perf_counter()
vectors = pca.apply(rows)
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
done = time.perf_counter()
values = faiss.vector_to_array(pca.eigenvalues)
print(f"faiss-cpu {faiss.__version__}, {faiss.omp_get_max_threads()} threads, {len(rows)} x {dims} to {dims_out}")
print(f"fit {fitted - start:.2f} s, project {done - fitted:.2f} s, total {done - start:.2f} s")
print(f"eigenvalues {values[0]:.6e} .. {values[dims_out - 1]:.6e}")
print(f"largest memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")
