"""truth: the principal components of features in double precision, which both sides of row 7 are compared with."""
import numpy as np
import scipy.linalg

from side import Timed, out_folder, report, settings

given = settings()
dims, dims_out = given["dims"], given["dims_out"]
features = np.fromfile(given["features"], np.float32).reshape(-1, dims)
with Timed() as spent:
    mean = features.mean(0, dtype=np.float64)
    scatter = np.zeros((dims, dims))
    for start in range(0, len(features), 4096):
        rows = features[start : start + 4096].astype(np.float64) - mean
        scatter += rows.T @ rows
    _, vectors = scipy.linalg.eigh(scatter, subset_by_index=[dims - dims_out, dims - 1], overwrite_a=True)
np.ascontiguousarray(vectors.T[::-1]).astype(np.float32).tofile(out_folder(given) / "components.f32")
report(spent)
