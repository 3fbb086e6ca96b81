"""Measure a network's mean average precision anew with scikit-learn, and compare with the evaluation that dcpipe wrote.

  python tests/readers/check_voc.py RUN VOC

RUN is a results folder with the nodes dataset, crops, weights (AlexNet with Sobel, epoch 0), marks and `given` (the
evaluation of these weights by `svm`). VOC is the folder whose lists `voc` read. The layers are computed in numpy
(check_probe.py); LinearSVC, StratifiedKFold and average_precision_score are scikit-learn's. Prints a line for each measure.
Exit code 1 when one differs by more than 0.005, or when the marks are not those of the lists.
Needs numpy, pyarrow, safetensors and scikit-learn.
"""
import pathlib
import sys

import numpy as np
import pyarrow.parquet as pq
import sklearn
from check_probe import layers, pixels
from safetensors.numpy import load_file
from sklearn.metrics import average_precision_score, precision_recall_curve
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import LinearSVC

COSTS = [0.01, 0.1, 1.0, 10.0]


def machine(cost):
    return LinearSVC(C=cost, class_weight={1: 2, -1: 1}, loss="squared_hinge", penalty="l2", dual=True, tol=1e-7, max_iter=1_000_000, random_state=0)


def eleven(marks, scores):
    precision, recall, _ = precision_recall_curve(marks, scores)
    return np.mean([precision[:-1][recall[:-1] >= least - 1e-12].max(initial=0) for least in np.arange(11) / 10])


def main(run, voc):
    names = [pathlib.Path(path).stem for path in pq.read_table(run / "images.parquet").column("path").to_pylist()]
    lists = {path.name.removesuffix("_trainval.txt"): path for path in (voc / "ImageSets/Main").glob("*_trainval.txt")}
    read = lambda path: {line.split()[0]: int(line.split()[1]) for line in path.read_text().splitlines() if line.strip()}
    marks = {label: (read(path), read(path.with_name(f"{label}_test.txt"))) for label, path in lists.items()}
    table = pq.read_table(next(run.rglob("marks.parquet"))).to_pylist()
    told = {(row["label"], row["held_out"], row["image"]): row["mark"] for row in table}
    due = {(label, held, image): mark for label, both in marks.items() for held in (0, 1) for image, mark in both[held].items()}
    failed = told != due
    print(f"{'FAIL' if failed else 'ok  '} {len(told)} marks are those of the lists")

    images = pixels(run / "crops").astype(np.float64)
    found = {(row["layer"], row["measure"]): row["value"] for row in pq.read_table(next((run / "given").rglob("evaluation.parquet"))).to_pylist()}
    answers = layers(load_file(run / "weights/epoch=0000.safetensors"), images, 0, False)
    for layer, x in zip(["conv1", "conv2", "conv3", "conv4", "conv5", "fc2"], answers):
        if (layer, "svm_map") not in found:
            continue
        x = x.astype(np.float16).astype(np.float32)
        x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        areas, points = [], []
        for label, (learn, measure) in sorted(marks.items()):
            rows = {held: [(names.index(image), mark) for image, mark in sorted(both.items()) if mark] for held, both in ((0, learn), (1, measure))}
            (known, y), (asked, z) = (map(np.array, zip(*rows[held])) for held in (0, 1))
            if min((y == 1).sum(), (y == -1).sum()) < 3 or not (z == 1).any():
                continue
            means = []
            for cost in COSTS:
                folds = StratifiedKFold(3).split(known, y)
                means.append(np.mean([average_precision_score(y[out] == 1, machine(cost).fit(x[known[into]], y[into]).decision_function(x[known[out]])) for into, out in folds]))
            scores = machine(COSTS[int(np.argmax(means))]).fit(x[known], y).decision_function(x[asked])
            areas.append(average_precision_score(z == 1, scores))
            points.append(eleven(z == 1, scores))
        for measure, value in (("svm_map", np.mean(areas)), ("svm_map_11", np.mean(points))):
            fine = abs(found[layer, measure] - value) < 0.005
            failed |= not fine
            print(f"{'ok  ' if fine else 'FAIL'} {layer} {measure}: {found[layer, measure]:.4f}, here {value:.4f} (scikit-learn {sklearn.__version__})")
    return failed


sys.exit(main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])))
