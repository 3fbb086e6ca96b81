"""kmeans_sklearn: Lloyd's iterations by scikit-learn from given centroids, and the last assignment."""
import warnings

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from side import Timed, out_folder, report, settings

given = settings()
dims, iterations = given["dims"], given["iterations"]
vectors = np.fromfile(given["vectors"], np.float32).reshape(-1, dims)
centroids = np.fromfile(given["centroids"], np.float32).reshape(-1, dims)
warnings.simplefilter("ignore", ConvergenceWarning)


def cluster(vectors, centroids, iterations):
    means = KMeans(len(centroids), init=centroids, n_init=1, max_iter=iterations, tol=0, algorithm="lloyd")
    return means.fit(vectors)


cluster(vectors[:4096], centroids[:256], 1)
with Timed() as spent:
    found = cluster(vectors, centroids, iterations)
out = out_folder(given)
if out:
    found.labels_.astype(np.uint32).tofile(out / "labels.u32")
    found.cluster_centers_.astype(np.float32).tofile(out / "centroids.f32")
report(spent, iterations=int(found.n_iter_))
