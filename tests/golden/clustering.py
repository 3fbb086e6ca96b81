"""clustering: golden arrays of whitening, k-means and agreement from faiss-cpu, scikit-learn and numpy.

Run with a Python that has faiss-cpu, scikit-learn, numpy and safetensors; writes clustering/*.safetensors and
clustering/agreement.json beside this file.
"""
import json
import pathlib

import faiss
import numpy as np
from safetensors.numpy import save_file
from sklearn import metrics

OUT = pathlib.Path(__file__).with_suffix("")
OUT.mkdir(exist_ok=True)
rng = np.random.default_rng(31)


def whitening():
    """Oracles 6 and 7: faiss's PCAMatrix with eigen_power -0.5, then L2."""
    n, dims, out = 300, 48, 12
    basis, _ = np.linalg.qr(rng.normal(size=(dims, dims)))
    spread = 2.0 * np.arange(1, dims + 1) ** -0.7
    rows = ((rng.normal(size=(n, dims)) * spread) @ basis.T + rng.normal(size=dims) * 3).astype("float32")
    pca = faiss.PCAMatrix(dims, out, -0.5)
    pca.train(rows)
    vectors = pca.apply(rows)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    components = faiss.vector_to_array(pca.A).reshape(out, dims)
    save_file(
        {
            "rows": rows,
            "mean": faiss.vector_to_array(pca.mean),
            "eigenvalues": faiss.vector_to_array(pca.eigenvalues)[:out].copy(),
            "components": components,
            "vectors": vectors,
        },
        OUT / "whitening.safetensors",
    )




def lloyd(x, start, iterations):
    """faiss's Clustering from given centroids: objective and splits per iteration, centroids, final labels."""
    k, dims = start.shape
    clustering = faiss.Clustering(dims, k)
    clustering.niter = iterations
    clustering.nredo = 1
    clustering.max_points_per_centroid = 10_000_000
    clustering.min_points_per_centroid = 1
    faiss.copy_array_to_vector(start.ravel(), clustering.centroids)
    index = faiss.IndexFlatL2(dims)
    clustering.train(x, index)
    stats = clustering.iteration_stats
    stats = [stats.at(i) for i in range(stats.size())]
    distances, labels = index.search(x, 1)
    return {
        "objective": np.array([s.obj for s in stats], "float64"),
        "splits": np.array([s.nsplit for s in stats], "int32"),
        "centroids": faiss.vector_to_array(clustering.centroids).reshape(k, dims).copy(),
        "labels": labels.ravel().astype("int32"),
        "distances": distances.ravel(),
    }


def unit(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype("float32")


def kmeans():
    """Oracle 8: unit vectors without structure, and blobs far apart."""
    x = unit(rng.normal(size=(900, 16)))
    start = x[rng.permutation(len(x))[:30]].copy()
    save_file({"x": x, "start": start, **lloyd(x, start, 12)}, OUT / "sphere.safetensors")
    centres = unit(rng.normal(size=(12, 16)))
    x = unit(centres[rng.integers(0, 12, 600)] + 0.02 * rng.normal(size=(600, 16)))
    start = x[rng.permutation(len(x))[:12]].copy()
    save_file({"x": x, "start": start, **lloyd(x, start, 12)}, OUT / "blobs.safetensors")


def splits():
    """Oracle 9: empty clusters. Coordinates in 32nds and cluster sizes that are powers of two, so that means are exact."""
    dims, sizes = 6, [64, 32, 16, 8, 4, 4]
    centres = np.array([[(i * 7 + j * 5) % 17 - 8 for j in range(dims)] for i in range(len(sizes))]) / 8.0
    x = np.repeat(centres, sizes, axis=0)
    noise = rng.integers(-1, 2, size=x.shape) / 32.0
    x = (x + noise).astype("float32")
    x = x[rng.permutation(len(x))].copy()
    # Four centroids that nothing is near to, among six that something is.
    far = 40.0 + np.arange(4)[:, None] + np.zeros((4, dims))
    start = np.concatenate([centres[:2], far[:1], centres[2:4], far[1:3], centres[4:], far[3:]]).astype("float32")
    once = lloyd(x / 4, (start / 4).astype("float32"), 1)
    assert once["splits"][0] == 4, once["splits"]
    more = lloyd(x / 4, (start / 4).astype("float32"), 6)
    save_file(
        {
            "x": x / 4,
            "start": start / 4,
            "once_centroids": once["centroids"],
            "once_objective": once["objective"],
            "once_splits": once["splits"],
            **more,
        },
        OUT / "splits.safetensors",
    )


def agreement():
    """Oracle 14: NMI with both means, AMI, ARI, entropy, purity, and images matched by the Hungarian algorithm."""
    from scipy.optimize import linear_sum_assignment

    n = 400
    a = rng.integers(0, 13, n)
    cases = {
        "random": (a, rng.integers(0, 7, n)),
        "related": (a, np.where(rng.random(n) < 0.7, (a * 3) % 13, rng.integers(0, 13, n))),
        "identical": (a, a),
        "renamed": (a, 1000 - a),
        "one_cluster_each": (np.zeros(9, int), np.ones(9, int)),
        "one_cluster_against_many": (np.zeros(n, int), a),
        "many_against_one_cluster": (a, np.zeros(n, int)),
        "all_singletons": (np.arange(50), np.arange(50)[::-1]),
        "singletons_against_one": (np.arange(50), np.zeros(50, int)),
        "singletons_against_pairs": (np.arange(50), np.arange(50) // 2),
        "skewed": (rng.zipf(1.5, n) % 40, rng.zipf(1.7, n) % 30),
        "one_image": (np.array([3]), np.array([5])),
        "two_images": (np.array([0, 1]), np.array([0, 0])),
    }
    out = []
    for name, (a, b) in cases.items():
        table = metrics.cluster.contingency_matrix(a, b)
        rows, columns = linear_sum_assignment(-table)
        counts = np.bincount(a)[np.bincount(a) > 0]
        share = counts / counts.sum()
        out.append(
            {
                "name": name,
                "a": a.tolist(),
                "b": b.tolist(),
                "nmi_arithmetic": float(metrics.normalized_mutual_info_score(a, b, average_method="arithmetic")),
                "nmi_geometric": float(metrics.normalized_mutual_info_score(a, b, average_method="geometric")),
                "mutual_information": float(metrics.mutual_info_score(a, b)),
                "ami": float(metrics.adjusted_mutual_info_score(a, b)),
                "ari": float(metrics.adjusted_rand_score(a, b)),
                "purity": float(table.max(axis=1).sum() / len(a)),
                "matched": int(table[rows, columns].sum()),
                "entropy_a": float(-(share * np.log(share)).sum()),
            }
        )
    (OUT / "agreement.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")


whitening()
kmeans()
splits()
agreement()
print("faiss", faiss.__version__, {p.name: p.stat().st_size for p in sorted(OUT.iterdir())})
