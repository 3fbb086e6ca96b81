"""read_exports: what other programs find in the exports of a run.

    python tests/readers/read_exports.py RUN

RUN is the results folder of a run, such as runs/cifar10. Every export in RUN/export is held against RUN/clusters and
RUN/images.parquet. Needs pandas, pyarrow, duckdb, numpy and Pillow. Where datasets, tensorboard, embedding-atlas,
renumics-spotlight, fiftyone or label-studio-sdk are installed, they read their export as well. Prints a line for each
reader with its version. Exit code 1 if one finds something else, or if there is no export at all.
"""

import csv
import importlib.metadata
import io
import json
import os
import struct
import sys
import unicodedata
import urllib.parse
import xml.etree.ElementTree
from pathlib import Path

import duckdb
import numpy
import pandas
import pyarrow.parquet
from PIL import Image

failed = False


def check(reader, export, read):
    """Runs a reader; prints what it found, or what is wrong."""
    global failed
    try:
        found = read()
    except ModuleNotFoundError as error:
        print(f"-    {export}: {reader} is not installed ({error.name})")
        return
    except Exception as error:  # whatever a reader raises is the finding
        failed = True
        print(f"BAD  {export}: {reader}: {type(error).__name__}: {error}")
        return
    try:
        version = " " + importlib.metadata.version(reader)
    except importlib.metadata.PackageNotFoundError:
        version = ""
    print(f"ok   {export}: {reader}{version}: {found}")


def same(found, wanted, what):
    found, wanted = list(found), list(wanted)
    if found != wanted:
        at = next((i for i, pair in enumerate(zip(found, wanted)) if pair[0] != pair[1]), min(len(found), len(wanted)))
        raise ValueError(f"{what} differ at {at}: {found[at:at + 1]} is not {wanted[at:at + 1]}")


def true(holds, what):
    if not holds:
        raise ValueError(what)


def truth(run, folder):
    """The clusters that an export of this epoch must have."""
    name = next((part for part in folder.parts if part.startswith("epoch=")), None)
    tables = sorted((run / "clusters").iterdir())
    table = run / "clusters" / name if name else tables[-1]
    return pandas.read_parquet(table / "part-0.parquet")


def as_table(frame, want, path="path"):
    same(frame[path], want["path"], "paths")
    same(frame["label"], want["label"], "labels")
    same(frame["cluster_id"].astype("int64"), want["cluster_id"].astype("int64"), "clusters")
    for column in ["distance", "margin"]:
        same(frame[column].astype("float32"), want[column], column)


def read_csv(folder, want):
    file = folder / "clusters.csv"

    def by_pandas():
        frame = pandas.read_csv(file, keep_default_na=False)
        as_table(frame, want)
        return f"{len(frame)} rows"

    def by_duckdb():
        found = duckdb.sql(f"select * from read_csv('{file}', header = true, quote = '\"', escape = '\"', all_varchar = true)").df()
        same(found["path"], want["path"], "paths")
        return f"{len(found)} rows"

    check("pandas", "csv", by_pandas)
    check("duckdb", "csv", by_duckdb)


def read_folders(folder, want):
    def by_files():
        found = 0
        for cluster in sorted(path for path in folder.iterdir() if path.is_dir()):
            number = int(cluster.name.removeprefix("cluster-"))
            rows = want[want["cluster_id"] == number].sort_values(["distance", "image_id"], kind="stable")
            files = sorted(cluster.iterdir())
            true(len(files) <= len(rows), f"{cluster} has more files than the cluster images")
            for rank, (file, path) in enumerate(zip(files, rows["path"])):
                true(int(file.name.split("-")[0]) == rank, f"{file} is not of rank {rank}")
                true(not any(unicodedata.category(c).startswith("C") for c in file.name), f"{file} has a hidden character")
                true(not file.is_symlink() or str(file.resolve()).endswith(path.split("/")[-1]), f"{file} leads elsewhere")
                Image.open(file).verify()
            found += len(files)
        return f"{found} files"

    check("pillow", "folders", by_files)


def read_atlas(folder, want):
    file, labels = folder / "atlas.parquet", folder / "labels.parquet"

    def pictures(bytes_, paths):
        for data, path, due in zip(bytes_, paths, want["path"]):
            same([path], [due], "paths in images")
            true(data[:3] == b"\xff\xd8\xff", "a thumbnail is no JPEG")
            Image.open(io.BytesIO(data)).load()

    def by_pyarrow():
        table = pyarrow.parquet.ParquetFile(file)
        groups = [table.metadata.row_group(at).num_rows for at in range(table.metadata.num_row_groups)]
        true(all(rows <= 1000 for rows in groups), f"row groups of {groups}")
        features = json.loads(table.schema_arrow.metadata[b"huggingface"])["info"]["features"]
        same([features["image"]], [{"_type": "Image"}], "features")
        read = table.read()
        same(read.column("image_id").to_pylist(), range(len(want)), "image ids")
        images = read.column("image").to_pylist()
        pictures([image["bytes"] for image in images], [image["path"] for image in images])
        for row, near in enumerate(read.column("neighbors").to_pylist() if "neighbors" in read.column_names else []):
            true(row not in near["ids"] and all(0 <= id < len(want) for id in near["ids"]), f"neighbours of {row}")
            same(near["distances"], sorted(near["distances"]), f"distances of the neighbours of {row}")
            true(len(near["ids"]) == len(near["distances"]) > 0, f"row {row} has no neighbours")
        return f"{len(read)} rows in {len(groups)} groups, {', '.join(read.column_names)}"

    def by_pandas():
        frame = pandas.read_parquet(file)
        as_table(frame, want)
        same(frame["cluster"], [f"cluster {n}" for n in want["cluster_id"]], "names of clusters")
        if "projection_x" not in frame:
            return "no map"
        for axis in ["projection_x", "projection_y"]:
            true(frame[axis].between(0, 1).all(), f"{axis} leaves 0..1")
        true(max(frame["projection_x"].max(), frame["projection_y"].max()) == 1, "the map does not reach 1")
        names, means = pandas.read_parquet(labels), frame.groupby("cluster_id")
        same(names["cluster_id"], means.size().index, "clusters of the labels")
        same(names["priority"], means.size(), "sizes of the labels")
        apart = numpy.abs(names["x"].to_numpy() - means["projection_x"].mean().to_numpy()).max()
        true(apart < 1e-4, f"a label stands {apart} from its cluster's mean")
        return f"{len(frame)} rows with a map, {len(names)} labels such as {names['text'][0]!r}"

    def by_duckdb():
        rows = duckdb.sql(f"select image.bytes, image.path from '{file}' order by image_id").fetchall()
        pictures([row[0] for row in rows], [row[1] for row in rows])
        return f"{len(rows)} rows"

    def by_datasets():
        import datasets

        datasets.disable_progress_bars()
        cache = os.environ.get("HF_HOME") or str(folder.parents[2] / ".hf-cache")
        read = datasets.load_dataset("parquet", data_files=str(file), split="train", cache_dir=cache)
        true(isinstance(read.features["image"], datasets.Image), "image is no Image")
        sizes = {read[at]["image"].size for at in range(0, len(read), max(1, len(read) // 50))}
        kind = read.features["label_id"]
        if isinstance(kind, datasets.ClassLabel):
            for at in range(len(read)):
                label = read.with_format(None)["label_id"][at]
                same([kind.int2str(label) if label is not None else ""], [want["label"][at]], "class labels")
                if at > 200:
                    break
        return f"{len(read)} rows, pictures of {sizes}, {type(kind).__name__}"

    def by_embedding_atlas():
        from embedding_atlas.utils import load_pandas_data

        frame = load_pandas_data(str(file))
        return f"{len(frame)} rows, labels {load_pandas_data(str(labels)).columns.tolist() if labels.exists() else None}"

    def by_spotlight():
        from renumics.spotlight.data_store import DataStore
        from renumics.spotlight_plugins.core.pandas_data_source import PandasDataSource

        store = DataStore(PandasDataSource(file), {})
        kind = store.dtypes["image"].name
        true(kind == "Image", f"image is {kind}")
        picture = Image.open(io.BytesIO(store.get_converted_value("image", len(store) - 1, simple=False)))
        # As its table asks. It leaves a cell of several lists empty, as `neighbors` has them; images may have no label.
        shown = {name: store.get_converted_values(name, simple=True, check=False) for name in store.column_names}
        empty = [name for name, cells in shown.items() if all(cell is None for cell in cells)]
        true(set(empty) <= {"neighbors", "label_id"}, f"it shows nothing of {empty}")
        return f"{len(store)} rows, image is {kind}, pictures of {picture.size}, nothing of {empty}"

    check("pyarrow", "atlas", by_pyarrow)
    check("pandas", "atlas", by_pandas)
    check("duckdb", "atlas", by_duckdb)
    check("datasets", "atlas", by_datasets)
    check("embedding-atlas", "atlas", by_embedding_atlas)
    check("renumics-spotlight", "atlas", by_spotlight)


def read_fiftyone(folder, want):
    def by_rules():
        """The columns that its importer documents, read as it does: every row names a file from the root folder on."""
        with open(folder / "labels.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        same([int(row["image_id"]) for row in rows], want["image_id"], "image ids")
        for row, path in zip(rows, want["path"]):
            true(os.path.isabs(row["filepath"]) and os.path.isfile(row["filepath"]), f"{row['filepath']!r} is no file")
            true("/images/" in row["filepath"] or row["filepath"].endswith("/" + path), f"{row['filepath']!r} is not {path!r}")
        same([row["label"] for row in rows], want["label"], "labels")
        compile((folder / "open.py").read_text(), "open.py", "exec")
        return f"{len(rows)} rows"

    def by_fiftyone():
        from fiftyone.utils.csv import CSVDatasetImporter

        importer = CSVDatasetImporter(labels_path=str(folder / "labels.csv"), fields=dict(cluster_id=int, distance=float))
        importer.setup()
        samples = list(importer)
        same(sorted(sample["cluster_id"] for sample in samples), sorted(want["cluster_id"]), "clusters")
        return f"{len(samples)} samples"

    check("csv", "fiftyone", by_rules)
    check("fiftyone", "fiftyone", by_fiftyone)


def read_labelstudio(folder, want):
    tasks = json.loads((folder / "tasks.json").read_text())
    config = (folder / "labeling.xml").read_text()

    def by_rules():
        choices = {choice.get("value") for choice in xml.etree.ElementTree.fromstring(config).iter("Choice")}
        by_id = want.set_index("image_id")
        for task in tasks:
            address = urllib.parse.urlsplit(task["data"]["image"])
            true(address.path == "/data/local-files/", address.path)
            file = urllib.parse.parse_qs(address.query, keep_blank_values=True)["d"][0]
            row = by_id.loc[task["data"]["image_id"]]
            true("/images/" in file or file.endswith("/" + row["path"]), f"{file!r} is not {row['path']!r}")
            result = task["predictions"][0]["result"][0]
            true(result["value"]["choices"] == [f"cluster {row['cluster_id']}"] and set(result["value"]["choices"]) <= choices, "choices")
            true(0 <= task["predictions"][0]["score"] <= 1, "a score beyond 0..1")
        return f"{len(tasks)} tasks, {len(choices)} choices"

    def by_sdk():
        from label_studio_sdk.label_interface import LabelInterface

        interface = LabelInterface(config)
        interface.validate()
        for task in tasks[:200]:
            wrong = interface.validate_prediction(task["predictions"][0], return_errors=True)
            true(not wrong and all(thing.value_name in task["data"] for thing in interface.objects), f"the SDK refuses {task}: {wrong}")
        return f"{min(len(tasks), 200)} tasks fit the labelling"

    check("json", "labelstudio", by_rules)
    check("label-studio-sdk", "labelstudio", by_sdk)


def crc32c(data):
    """Bit by bit, so that it has nothing in common with a table."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def read_tensorboard(folder, run):
    file = next(folder.glob("events.out.tfevents.*"))
    metrics = pandas.read_parquet(run / "metrics")

    def by_records():
        data, at, records = file.read_bytes(), 0, 0
        while at < len(data):
            (length,), (of_length,) = struct.unpack_from("<Q", data, at), struct.unpack_from("<I", data, at + 8)
            body = data[at + 12 : at + 12 + length]
            (of_body,) = struct.unpack_from("<I", data, at + 12 + length)
            for found, part in [(of_length, data[at : at + 8]), (of_body, body if length < 4096 else None)]:
                if part is not None:
                    crc = crc32c(part)
                    true(found == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF, f"the checksum at byte {at}")
            at, records = at + 16 + length, records + 1
        return f"{records} records"

    def by_tensorboard():
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
        events.Reload()
        tags = events.Tags()
        for name, of_name in metrics.groupby("name"):
            found = {event.step: event.value for event in events.Scalars(f"clusters/{name}")}
            for epoch, value in zip(of_name["epoch_idx"], of_name["value"]):
                true(abs(found[epoch] - value) <= 1e-6 * abs(value), f"{name} of epoch {epoch} is {found[epoch]}, not {value}")
        for tag in tags["images"]:
            for event in events.Images(tag):
                true(Image.open(io.BytesIO(event.encoded_image_string)).size == (event.width, event.height), tag)
        return f"{len(tags['scalars'])} scalars, {sum(len(events.Images(tag)) for tag in tags['images'])} pictures"

    def by_projector():
        if not (folder / "projector_config.pbtxt").exists():
            return "none"
        from_text = (folder / "projector_config.pbtxt").read_text()
        vectors = numpy.loadtxt(folder / "vectors.tsv", delimiter="\t", ndmin=2)
        rows = (folder / "metadata.tsv").read_text().splitlines()
        true(len(rows) == len(vectors) + 1, f"{len(rows)} lines of metadata for {len(vectors)} vectors")
        true(all(row.count("\t") == rows[0].count("\t") for row in rows), "a line of metadata has other columns")
        side = int(from_text.split("single_image_dim: ")[1].split()[0])
        sprite = Image.open(folder / "sprite.jpg")
        true(sprite.width == sprite.height <= 8192 and (sprite.width // side) ** 2 >= len(vectors), f"sprite {sprite.size}")
        return f"{len(vectors)} vectors of {vectors.shape[1]} numbers, a sprite of {sprite.width} pixels"

    def by_protocol():
        from google.protobuf import text_format
        from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

        config = text_format.Parse((folder / "projector_config.pbtxt").read_text(), ProjectorConfig())
        for name in [config.embeddings[0].tensor_path, config.embeddings[0].metadata_path, config.embeddings[0].sprite.image_path]:
            true((folder / name).is_file(), name)
        return "projector_config.pbtxt"

    check("struct", "tensorboard", by_records)
    check("tensorboard", "tensorboard", by_tensorboard)
    check("pillow", "tensorboard", by_projector)
    if (folder / "projector_config.pbtxt").exists():
        check("tensorboard", "tensorboard", by_protocol)


def read_montage(folder):
    def by_pillow():
        sizes = [Image.open(file).size for file in sorted(folder.glob("cluster-*.jpg"))]
        true(sizes, "no montage")
        return f"{len(sizes)} pictures"

    check("pillow", "montage", by_pillow)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    run = Path(sys.argv[1]).resolve()
    readers = {"csv": read_csv, "folders": read_folders, "atlas": read_atlas, "fiftyone": read_fiftyone, "labelstudio": read_labelstudio}
    folders = sorted({path.parent for path in run.rglob("export/**/.dcpipe-export.json")})
    for folder in folders:
        what = folder.relative_to(run / "export").parts[0]
        if what == "tensorboard":
            read_tensorboard(folder, run)
        elif what == "montage":
            read_montage(folder)
        else:
            readers[what](folder, truth(run, folder))
    return 1 if failed or not folders else 0


if __name__ == "__main__":
    sys.exit(main())
