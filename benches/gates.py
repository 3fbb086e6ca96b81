"""gates: whether both sides of a row computed the same, read from what their checked repetition wrote."""
import numpy as np

BLOCK = 1 << 26  # Samples compared at a time.


class Differs(Exception):
    """The two sides do not agree, so that no ratio counts."""


def samples(ours, theirs, most=0):
    """Two files of u8 samples, of which no more than `most` may differ; `None` allows any."""
    a, b = (np.memmap(path, np.uint8, "r") for path in (ours, theirs))
    if len(a) != len(b):
        raise Differs(f"{len(a):,} samples against {len(b):,}")
    differ, apart = 0, 0.0
    for at in range(0, len(a), BLOCK):
        one, other = a[at : at + BLOCK], b[at : at + BLOCK]
        differ += int((one != other).sum())
        apart += float(np.abs(one.astype(np.int16) - other).sum(dtype=np.int64))
    told = f"{differ:,} of {len(a):,} samples differ"
    if most is None:
        told += f", by {apart / max(differ, 1):.2f} of 255 in the mean"
        if not apart <= 8 * len(a):
            raise Differs(told)
        return told
    if differ > most:
        raise Differs(told)
    return told


def clusterings(vectors, ours, theirs, dims, objective=1e-6, labels=0.9999):
    """Two clusterings of the same vectors: the sums of squared distances, and the labels."""
    rows = np.fromfile(vectors, np.float32).reshape(-1, dims)
    found = []
    for folder in (ours, theirs):
        label = np.fromfile(folder / "labels.u32", np.uint32)
        centroids = np.fromfile(folder / "centroids.f32", np.float32).reshape(-1, dims)
        sums = (((rows[at : at + 8192].astype(np.float64) - centroids[label[at : at + 8192]]) ** 2).sum()
                for at in range(0, len(rows), 8192))
        found.append((label, float(sum(sums))))
    (label, sum_), (other, sum_other) = found
    apart, same = abs(sum_ / sum_other - 1), float((label == other).mean())
    told = f"objectives {apart:.1e} apart, {same:.4%} of labels equal"
    if not (apart <= objective and same >= labels):
        raise Differs(told)
    return told


def basis(path, dims):
    """An orthonormal basis of the rows of a file."""
    rows = np.fromfile(path, np.float32).reshape(-1, dims).astype(np.float64)
    return np.linalg.qr(rows.T)[0]


def angle(one, other):
    """The sine of the largest angle between two subspaces of one dimension."""
    return float(np.linalg.norm(other - one @ (one.T @ other), 2))


def subspaces(truth, ours, theirs, dims, most=1e-3):
    """Our subspace and theirs against the one in double precision; only ours must be near."""
    right, our, their = (basis(folder / "components.f32", dims) for folder in (truth, ours, theirs))
    mine, other = angle(right, our), angle(right, their)
    told = f"the subspace is {mine:.1e} from double precision's, faiss's {other:.1e}"
    if not mine <= most:
        raise Differs(told)
    return told


def applied(features, found, dims, dims_out, most=1e-4, count=256):
    """Our vectors against the definition, from our own components: centred, projected and brought to length 1."""
    rows = np.memmap(features, np.float32, "r").reshape(-1, dims)
    mean = sum(rows[at : at + 4096].sum(0, dtype=np.float64) for at in range(0, len(rows), 4096)) / len(rows)
    components = np.fromfile(found / "components.f32", np.float32).reshape(-1, dims).astype(np.float64)
    due = (rows[-count:].astype(np.float64) - mean) @ components.T
    due /= np.linalg.norm(due, axis=1, keepdims=True)
    vectors = np.memmap(found / "vectors.f32", np.float32, "r").reshape(-1, dims_out)
    apart = float(np.abs(vectors[-count:] - due).max())
    told = f"vectors {apart:.1e} from their definition"
    if len(vectors) != len(rows) or not apart <= most:
        raise Differs(told)
    return told


def features(ours, theirs, most=1e-4):
    """Two files of features: the largest difference as a share of the largest feature."""
    a, b = (np.memmap(path, np.float32, "r") for path in (ours, theirs))
    if len(a) != len(b):
        raise Differs(f"{len(a):,} numbers against {len(b):,}")
    apart = float(np.abs(a - b).max() / np.abs(b).max())
    told = f"features {apart:.1e} apart"
    if not apart <= most:
        raise Differs(told)
    return told


def numbers(what, ours, theirs, most):
    """Two lists of numbers, each pair as a share of theirs."""
    apart = max((abs(a / b - 1) for a, b in zip(ours, theirs, strict=True)), default=float("nan"))
    told = f"{what} {apart:.1e} apart"
    if not apart <= most:
        raise Differs(told)
    return told


def arrow_rows(paths, column):
    """The rows of Arrow files, one after the other, as arrays."""
    import pyarrow as pa

    for path in paths:
        with pa.memory_map(str(path)) as file:
            for batch in map(pa.ipc.open_file(file).get_batch, range(pa.ipc.open_file(file).num_record_batches)):
                array = batch.column(column)
                yield array.values.to_numpy().reshape(len(array), -1)


def written(paths, column, given):
    """Whether pyarrow reads from the files what was written to them."""
    due = np.memmap(given, np.float32, "r")
    at = 0
    for rows in arrow_rows(paths, column):
        if not np.array_equal(rows.ravel(), due[at : at + rows.size]):
            raise Differs(f"numbers from {at:,} on are not those that were given")
        at += rows.size
    if at != len(due):
        raise Differs(f"{at:,} numbers of {len(due):,} were written")
    return f"pyarrow reads all {at:,} numbers"
