"""Measure a network anew in numpy, from its pixels, and compare with the evaluation that dcpipe wrote.

  python tests/readers/check_probe.py RUN

RUN is a results folder with the nodes dataset, test, crops, test_crops, weights (AlexNet with Sobel, epoch 0), `given` and
`calibrated` (evaluations of these weights on `test`). All images to learn from must fit one batch of 256. The convolutions,
batch norm, the neighbours' vote and the logistic regression (Newton's method, where dcpipe has L-BFGS) are written here from
their definitions. Prints a line for each measure. Exit code 1 when one differs by more than one image.
Needs numpy, pyarrow and safetensors.
"""
import math
import pathlib
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file

# Kernel, stride, padding, and whether pooling follows: AlexNet's convolutions, and where they stand in `features`.
CONVS = [(0, 4, 2, True), (4, 1, 2, True), (8, 1, 1, False), (11, 1, 1, False), (14, 1, 1, True)]
DECAY = 1e-4


def pixels(folder):
    tables = [pa.ipc.open_file(pa.memory_map(str(part))).read_all() for part in sorted(folder.rglob("part-*.arrow"))]
    rows = [np.asarray(chunk.flatten()) for table in tables for chunk in table.column("pixels").chunks]
    side = math.isqrt(len(tables[0].column("pixels")[0]) // 3)
    return np.concatenate(rows).reshape(-1, side, side, 3)


def convolve(x, weight, bias, stride, padding):
    k = weight.shape[2]
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(2, 3))[:, :, ::stride, ::stride]
    return np.tensordot(windows, weight, axes=([1, 4, 5], [1, 2, 3])).transpose(0, 3, 1, 2) + bias[:, None, None]


def max_pool(x):
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    return windows.max(axis=(4, 5))


def pooled(x):
    """Average pooling to the largest square of at most 9,600 numbers, as torch's adaptive one cuts windows."""
    channels, side = x.shape[1:3]
    to = min(side, math.isqrt(9600 // channels))
    edges = [(at * side // to, -(-(at + 1) * side // to)) for at in range(to)]
    rows = np.stack([x[:, :, a:b].mean(axis=2) for a, b in edges], axis=2)
    return np.stack([rows[:, :, :, a:b].mean(axis=3) for a, b in edges], axis=3).reshape(len(x), -1)


def layers(w, images, learned, calibrate):
    """conv1 to conv5 behind their ReLU, and fc2 before it; with batch norm's statistics of the first rows, or as given."""
    x = (images.transpose(0, 3, 1, 2) / 255 - np.reshape([0.485, 0.456, 0.406], (3, 1, 1))) / np.reshape([0.229, 0.224, 0.225], (3, 1, 1))
    x = convolve(x, w["sobel.0.weight"], w["sobel.0.bias"], 1, 0)
    x = convolve(x, w["sobel.1.weight"], w["sobel.1.bias"], 1, 1)
    found = []
    for index, stride, padding, pools in CONVS:
        x = convolve(x, w[f"features.{index}.weight"], w[f"features.{index}.bias"], stride, padding)
        mean, var = (w[f"features.{index + 1}.running_{name}"] for name in ("mean", "var"))
        if calibrate:
            mean, var = x[:learned].mean(axis=(0, 2, 3)), x[:learned].var(axis=(0, 2, 3), ddof=1)
        gain, shift = w[f"features.{index + 1}.weight"], w[f"features.{index + 1}.bias"]
        x = (x - mean[:, None, None]) / np.sqrt(var[:, None, None] + 1e-5) * gain[:, None, None] + shift[:, None, None]
        x = np.maximum(x, 0)
        found.append(pooled(x))
        x = max_pool(x) if pools else x
    hidden = np.maximum(x.reshape(len(x), -1) @ w["classifier.1.weight"].T + w["classifier.1.bias"], 0)
    return found + [hidden @ w["classifier.4.weight"].T + w["classifier.4.bias"]]


def knn(x, labels, learned, classes, k):
    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    similar = unit[learned:] @ unit[:learned].T
    right = 0
    for row, label in zip(similar, labels[learned:]):
        best = np.lexsort((np.arange(learned), -row))[:k]
        votes = np.bincount(labels[best], weights=np.exp(row[best] / 0.07), minlength=classes)
        right += votes.argmax() == label
    return right / (len(x) - learned)


def linear(x, labels, learned, classes):
    mean = x[:learned].mean(axis=0)
    x = x - mean
    x = x / np.sqrt((x[:learned] ** 2).sum(axis=1).mean())
    # The optimum lies in the span of the rows: as many coordinates as rows are enough.
    _, _, basis = np.linalg.svd(x[:learned], full_matrices=False)
    z = np.concatenate([x @ basis.T, np.ones((len(x), 1))], axis=1)
    known, target = z[:learned], np.eye(classes)[labels[:learned]]
    pull = np.full(z.shape[1], DECAY)
    pull[-1] = 1e-9  # The biases are free; a trace keeps the matrix regular.
    at = np.zeros((classes, z.shape[1]))

    def objective(at):
        logits = known @ at.T
        logs = logits - logits.max(axis=1, keepdims=True)
        logs = logs - np.log(np.exp(logs).sum(axis=1, keepdims=True))
        return -(logs * target).sum() / learned + (pull * at**2).sum() / 2, np.exp(logs)

    value, share = objective(at)
    for _ in range(25):
        slope = (share - target).T @ known / learned + pull * at
        if np.abs(slope).max() < 1e-6:
            break
        curve = np.zeros((classes, z.shape[1], classes, z.shape[1]))
        for a in range(classes):
            for b in range(classes):
                weight = share[:, a] * ((a == b) - share[:, b]) / learned
                curve[a, :, b] = (known * weight[:, None]).T @ known + (a == b) * np.diag(pull)
        step = np.linalg.solve(curve.reshape(at.size, at.size), slope.ravel()).reshape(at.shape)
        rate = 1.0
        while objective(at - rate * step)[0] > value and rate > 1e-6:
            rate /= 2
        at = at - rate * step
        value, share = objective(at)
    return ((z[learned:] @ at.T).argmax(axis=1) == labels[learned:]).mean()


def main(run):
    tables = [pq.read_table(run / name).to_pydict() for name in ("images.parquet", "test/images.parquet")]
    names = sorted(set(tables[0]["label"] + tables[1]["label"]))
    labels = np.array([names.index(label) for table in tables for label in table["label"]])
    learned = len(tables[0]["label"])
    images = np.concatenate([pixels(run / "crops"), pixels(run / "test_crops")]).astype(np.float64)
    weights = load_file(run / "weights/epoch=0000.safetensors")
    failed = False
    for node in ("given", "calibrated"):
        found = pq.read_table(next((run / node).rglob("evaluation.parquet"))).to_pylist()
        found = {(row["layer"], row["measure"], row["k"]): row["value"] for row in found}
        answers = layers(weights, images, learned, node == "calibrated")
        for layer, x in zip(["conv1", "conv2", "conv3", "conv4", "conv5", "fc2"], answers):
            due = {("knn", k): knn(x, labels, learned, len(names), k) for k in (5, 50)}
            if layer in ("conv1", "conv5", "fc2"):
                due["linear", 0] = linear(x, labels, learned, len(names))
            for (measure, k), value in due.items():
                got = found[layer, measure, k]
                fine = abs(got - value) * (len(labels) - learned) < 1.01
                failed |= not fine
                print(f"{'ok  ' if fine else 'FAIL'} {node} {layer} {measure} {k}: {got:.4f}, here {value:.4f}")
    return failed


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
