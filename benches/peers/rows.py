"""rows: features written by numpy or by pyarrow, with an fsync, so that they are durable."""
import os
import pathlib

import numpy as np
import pyarrow as pa

from side import Timed, report, settings

BATCH = 1024
given = settings()
dims, folder = given["dims"], pathlib.Path(given["to"])
folder.mkdir(parents=True, exist_ok=True)
features = np.fromfile(given["features"], np.float32).reshape(-1, dims)


def by_numpy(rows, path):
    with open(path, "wb") as file:
        np.save(file, rows)
        file.flush()
        os.fsync(file.fileno())


def by_pyarrow(rows, path):
    schema = pa.schema([("feature", pa.list_(pa.field("item", pa.float32()), dims))])
    with open(path, "wb") as file:
        with pa.ipc.new_file(file, schema) as writer:
            for start in range(0, len(rows), BATCH):
                values = pa.array(rows[start : start + BATCH].reshape(-1))
                writer.write_batch(pa.record_batch([pa.FixedSizeListArray.from_arrays(values, dims)], schema=schema))
        file.flush()
        os.fsync(file.fileno())


write = {"numpy": by_numpy, "pyarrow": by_pyarrow}[given["of"]]
write(features[:256], folder / "warm")
path = folder / ("features.npy" if given["of"] == "numpy" else "features.arrow")
with Timed() as spent:
    write(features, path)
report(spent, files=[str(path)])
