"""kmeans_faiss: Lloyd's iterations by faiss-cpu from given centroids, and the last assignment."""
import faiss
import numpy as np

from side import Timed, out_folder, report, settings

given = settings()
dims, iterations = given["dims"], given["iterations"]
vectors = np.fromfile(given["vectors"], np.float32).reshape(-1, dims)
centroids = np.fromfile(given["centroids"], np.float32).reshape(-1, dims)


def cluster(vectors, centroids, iterations):
    clustering = faiss.Clustering(dims, len(centroids))
    clustering.niter, clustering.nredo = iterations, 1
    clustering.max_points_per_centroid, clustering.min_points_per_centroid = 10_000_000, 1
    clustering.early_stop_threshold = -1
    faiss.copy_array_to_vector(centroids.ravel().copy(), clustering.centroids)
    index = faiss.IndexFlatL2(dims)
    clustering.train(vectors, index)
    return index.search(vectors, 1)[1].ravel(), faiss.vector_to_array(clustering.centroids)


cluster(vectors[:4096], centroids[:256], 1)
with Timed() as spent:
    labels, found = cluster(vectors, centroids, iterations)
out = out_folder(given)
if out:
    labels.astype(np.uint32).tofile(out / "labels.u32")
    found.tofile(out / "centroids.f32")
report(spent)
