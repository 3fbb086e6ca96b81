"""run_readme: runs the Python and SQL blocks of README.md, and looks for the files and columns that its table promises.

    python tests/readers/run_readme.py README.md

Starts in a folder that has runs/cifar10, of three epochs. `network` is the AlexNet that tests/golden/nets.py writes in plain
PyTorch. Prints what it found; exit code 1 at the first failure.
Needs: pandas pyarrow duckdb safetensors torch.
"""

import re
import sys
from pathlib import Path

import duckdb
import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
from nets import Net  # noqa: E402

RUN = Path("runs/cifar10")
# Of pipelines/cifar10.yaml.
INPUT, CLUSTERS = 64, 100


def run_python(code):
    network = Net("alexnet", True, INPUT, CLUSTERS)
    before = network.top_layer.weight.detach().clone()
    names = {"network": network}
    exec(code, names)
    images = pyarrow.parquet.read_metadata(RUN / "images.parquet").num_rows
    assert len(names["clusters"]) == 3 * images and 0 < len(names["paths"]) < images
    assert names["vectors"].num_rows == images and names["metrics"].notna().loc[3, ["nmi_label", "nmi_previous"]].all()
    assert not torch.equal(before, network.top_layer.weight), "the block loads no weights"
    print(f"python: {len(names['paths'])} paths, {images} vectors")


def run_sql(code):
    rows = duckdb.sql(code).fetchall()
    images = pyarrow.parquet.read_metadata(RUN / "images.parquet").num_rows
    assert sum(row[1] for row in rows) == images, f"the SQL block counts other images than the run's {images}"
    print(f"sql: {len(rows)} clusters")


def columns(path):
    if path.suffix == ".parquet":
        return pyarrow.parquet.read_schema(path).names
    with pyarrow.memory_map(str(path)) as source:
        return pyarrow.ipc.open_file(source).schema.names


def look_for_files(section):
    """Rows of the table: names of files in the first cell, and in the second, if it has a list, columns."""
    found = 0
    for cells in re.findall(r"^\| (`.*?) \| (.*) \|$", section, re.M):
        paths = [RUN / name for name in re.findall("`(.*?)`", cells[0])]
        for path in paths:
            assert path.exists() and (path.is_file() or any(path.iterdir())), f"{path} is not there"
        listed = re.match("`(.*?)`", cells[1])
        promised = listed[1].split(", ") if listed else []
        missing = set(promised) - set(columns(paths[0])) if promised else set()
        assert not missing, f"{paths[0]} has no {sorted(missing)}"
        found += len(paths)
    print(f"table: {found} files and folders")


def main(readme):
    text = Path(readme).read_text()
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S)
    for language, code in blocks:
        if language == "python":
            run_python(code)
        elif language == "sql":
            run_sql(code)
        else:
            sys.exit(f"nothing here runs a block of {language}")
    look_for_files(text.split("\n## What you get\n")[1].split("\n## ")[0])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
