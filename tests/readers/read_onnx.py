"""read_onnx: an exported ONNX file gives the features, vectors and clusters of the run that it is of.

    python tests/readers/read_onnx.py RUN FILE.onnx EPOCH [--most N]

RUN is the results folder of a run that keeps crops, features and vectors; EPOCH is the epoch of the clusters. Needs
onnxruntime, numpy, pandas and pyarrow. Exit code 1 where a cluster or a number differs.
"""
import argparse
import pathlib
import sys

import numpy as np
import onnxruntime
import pandas
import pyarrow as pa


def rows(folder, column):
    """A fixed-size-list column of all parts, in the order of images.parquet."""
    tables = [pa.ipc.open_file(pa.memory_map(str(part))).read_all() for part in sorted(folder.glob("part-*.arrow"))]
    chunks = [chunk for table in tables for chunk in table.column(column).chunks]
    return np.concatenate([chunk.flatten().to_numpy(zero_copy_only=False).reshape(len(chunk), -1) for chunk in chunks])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("file")
    parser.add_argument("epoch", type=int)
    parser.add_argument("--most", type=int, default=1000)
    args = parser.parse_args()

    at = f"epoch={args.epoch:04}"
    table = pandas.read_parquet(args.run / "clusters" / at).sort_values("image_id")
    clusters = table.cluster_id.to_numpy()[: args.most]
    crops = rows(args.run / "crops", "pixels")[: args.most]
    side = round((crops.shape[1] / 3) ** 0.5)
    session = onnxruntime.InferenceSession(args.file, providers=["CPUExecutionProvider"])
    found = {"feature": [], "vector": [], "cluster_id": []}
    for start in range(0, len(crops), 100):
        images = crops[start : start + 100].reshape(-1, side, side, 3).astype(np.uint8)
        for name, values in zip(found, session.run(list(found), {"images": images})):
            found[name].append(values)
    found = {name: np.concatenate(values) for name, values in found.items()}
    failed = False
    for name, noun in (("feature", "features"), ("vector", "vectors")):
        want = rows(args.run / noun / at, name)[: args.most].astype(np.float32)
        apart = float(np.abs(found[name] - want).max() / np.abs(want).max())
        failed |= not apart <= 1e-4
        print(f"{name}: {want.shape[0]} x {want.shape[1]}, relative difference {apart:.2g}")
    same = int((found["cluster_id"] == clusters).sum())
    failed |= same != len(clusters)
    print(f"cluster_id: {same} of {len(clusters)} are the run's (onnxruntime {onnxruntime.__version__})")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
