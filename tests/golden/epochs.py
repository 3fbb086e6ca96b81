"""Golden values for tests/suite/epochs.rs: three epochs of DeepCluster on 96 drawn images, nothing left to chance.

Features (torch) -> PCA-whitening and unit length (numpy, f64) -> k-means (faiss) -> labels -> one pass of training with
two optimizers (torch) -> the next epoch. What a real run draws is given: weights, heads, initial centroids (as image
ids) and reading orders come from the integer hash of nets.py, and there is no dropout and no cropping.

Run:  python tests/golden/epochs.py        (torch 2.11, numpy, faiss-cpu, safetensors; writes tests/golden/epochs/*)
"""
import pathlib

import faiss
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from nets import Net, bits, fill, filled, normalise

OUT = pathlib.Path(__file__).with_suffix("")
SIDE, IMAGES, KINDS, EPOCHS, BATCH = 64, 96, 6, 3, 32
DIMS, K, ITERATIONS = 7, 8, 10
LR, MOMENTUM, DECAY = 0.01, 0.9, 1e-5


def drawing(image):
    """u8 [s, s, 3]: one of six kinds of drawing, moved a little, with a little noise."""
    h = bits(f"image {image}", 2 + SIDE * SIDE * 3)
    dx, dy = int(h[0] % np.uint64(5)), int(h[1] % np.uint64(5))
    noise = (h[2:] % np.uint64(48)).astype(np.int64).reshape(SIDE, SIDE, 3)
    y, x = np.mgrid[:SIDE, :SIDE]
    x, y = x + dx, y + dy
    on = (
        y // 8 % 2,
        x // 4 % 2,
        (x + y) // 8 % 2,
        (x // 16 + y // 16) % 2,
        ((x - 34) ** 2 + (y - 34) ** 2 < 400) * 1,
        (x * y // 64) % 2,
    )[image % KINDS]
    return (40 + 160 * on[:, :, None] + noise).astype(np.uint8)


def whiten(features):
    """f64 throughout; components scaled by the inverse root of the scatter matrix's eigenvalues, rows of length one."""
    centred = features.astype(np.float64) - features.astype(np.float64).mean(0)
    _, singular, basis = np.linalg.svd(centred, full_matrices=False)
    vectors = centred @ basis[:DIMS].T / singular[:DIMS]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), singular**2


def lloyd(vectors, start):
    clustering = faiss.Clustering(DIMS, K)
    clustering.niter, clustering.nredo = ITERATIONS, 1
    clustering.max_points_per_centroid, clustering.min_points_per_centroid = 10_000_000, 1
    clustering.early_stop_threshold = -1  # newer than the published code: would end at the first iteration without gain
    faiss.copy_array_to_vector(vectors[start].ravel().copy(), clustering.centroids)
    index = faiss.IndexFlatL2(DIMS)
    clustering.train(vectors, index)
    stats = [clustering.iteration_stats.at(i) for i in range(ITERATIONS)]
    near, clusters = index.search(vectors, 2)
    print("  splits", [s.nsplit for s in stats], "smallest margin", (near[:, 1] - near[:, 0]).min())
    return clusters[:, 0], [s.obj for s in stats]


def order(name):
    """The images in the order of their hashes."""
    return np.argsort(bits(name, IMAGES), kind="stable")


def epochs(dtype):
    images = np.stack([drawing(i) for i in range(IMAGES)])
    net = fill(Net("alexnet", True, SIDE, K, dropout=0.0), dtype)
    body = [p for n, p in net.named_parameters() if p.requires_grad and not n.startswith("top_layer")]
    optim_body = torch.optim.SGD(body, lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
    out = {"sums": [], "eigenvalues": [], "objective": [], "clusters": [], "loss": []}
    for epoch in range(EPOCHS):
        net.eval()
        with torch.no_grad():
            features = net.feature(normalise(images, dtype)).float().numpy()
        vectors, eigenvalues = whiten(features)
        start = order(f"centroids {epoch}")[:K]
        if epoch == 1:
            start[-1] = start[0]  # one image starts two clusters, one of which is then empty and refilled
        clusters, objective = lloyd(vectors, start)
        held = np.unique(clusters)
        labels = torch.from_numpy(np.searchsorted(held, clusters))
        gap = eigenvalues[DIMS - 1] / eigenvalues[DIMS]
        print("  epoch", epoch, "sizes", np.bincount(clusters, minlength=K), "gap", gap)

        for name, parameter in net.top_layer.named_parameters():
            parameter.data.copy_(torch.from_numpy(filled(f"epoch {epoch} {name}", tuple(parameter.shape))).float())
        optim_head = torch.optim.SGD(net.top_layer.parameters(), lr=LR, weight_decay=DECAY)
        net.train()
        losses = []
        for batch in order(f"manifest {epoch}").reshape(-1, BATCH):
            loss = F.cross_entropy(net(normalise(images[batch], dtype)), labels[batch])
            optim_body.zero_grad()
            optim_head.zero_grad()
            loss.backward()
            optim_body.step()
            optim_head.step()
            losses.append(loss.item())
        print("  loss", losses)
        out["sums"].append([features.sum(dtype=np.float64), np.abs(features).sum(dtype=np.float64)])
        out["eigenvalues"].append(eigenvalues[:DIMS].tolist())
        out["objective"].append(objective)
        out["clusters"].append(clusters.tolist())
        out["loss"].append(losses)
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in out.items()}


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    torch.set_num_threads(2)
    both = {str(dtype).removeprefix("torch."): epochs(dtype) for dtype in (torch.float64, torch.float32)}
    print("f32 from f64", ((both["float32"]["loss"] / both["float64"]["loss"]) - 1).abs().amax(1))
    save_file({f"{kind} {name}": t for kind, run in both.items() for name, t in run.items()}, OUT / "run.safetensors")
