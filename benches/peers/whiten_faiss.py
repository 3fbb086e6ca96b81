"""whiten_faiss: faiss-cpu's PCAMatrix and numpy's normalisation on features in memory."""
import faiss
import numpy as np

from side import Timed, out_folder, report, settings

given = settings()
dims, dims_out = given["dims"], given["dims_out"]
features = np.fromfile(given["features"], np.float32).reshape(-1, dims)


def fit(rows, dims_out):
    pca = faiss.PCAMatrix(dims, dims_out, -0.5)
    pca.train(rows)
    return pca


fit(features[: 2 * dims_out], 16)
with Timed() as spent:
    pca = fit(features, dims_out)
    vectors = pca.apply(features)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
out = out_folder(given)
if out:
    faiss.vector_to_array(pca.A)[: dims_out * dims].tofile(out / "components.f32")
    vectors.tofile(out / "vectors.f32")
report(spent, last_eigenvalue=float(faiss.vector_to_array(pca.eigenvalues)[dims_out - 1]))
