"""ours: one repetition of `dcpipe run` itself, in a new store: a scan with its crops, or one epoch and what follows it."""
import json
import pathlib
import statistics
import sys
import tempfile

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent / "peers"))
from gates import arrow_rows  # noqa: E402
from side import out_folder, settings  # noqa: E402
from turns import watched  # noqa: E402

AGAIN = 5  # Runs with nothing to do.
PIPELINE = """name: bench
seed: 31
epochs: 1
keep: [{keep}]
once:
  dataset: {{ stage: scan, with: {{ root: {images} }} }}
  crops: {{ stage: decode, from: {{ dataset: dataset }}, with: {{ short_side: 256, crop: 224 }} }}
  weights: {{ stage: init, with: {{ arch: alexnet, sobel: true, input: 224{start} }} }}
each_epoch:
  features: {{ stage: extract, from: {{ crops: crops, weights: weights@prev }}, with: {{ batch: 256 }} }}
  vectors: {{ stage: whiten, from: {{ features: features }}, with: {{ dims: {dims} }} }}
  clusters: {{ stage: cluster, from: {{ vectors: vectors }}, with: {{ k: {k}, iterations: 20 }} }}
  manifest: {{ stage: sample, from: {{ clusters: clusters }}, with: {{ draw: uniform }} }}
  weights: {{ stage: train, from: {{ dataset: dataset, manifest: manifest, weights: weights@prev }}, with: {{ batch: 256 }} }}
  metrics: {{ stage: compare, from: {{ dataset: dataset, clusters: clusters, before: clusters@prev }} }}
"""
given = settings()


class Runs:
    """Runs of one pipeline on one store."""

    def __init__(self, folder, keep, start=""):
        self.folder = folder
        self.pipeline = folder / "bench.yaml"
        images = json.dumps(str(pathlib.Path(given["images"]).resolve()))
        text = PIPELINE.format(keep=keep, images=images, start=start, dims=given.get("dims", 256), k=given.get("k", 500))
        self.pipeline.write_text(text)

    def run(self, *more):
        """A run: its events, wall and processor time, and peak of anonymous memory."""
        place = ["--store", str(self.folder / "store"), "--out", str(self.folder / "runs")]
        events = self.folder / "events"
        with open(events, "w") as out:
            command = [given["dcpipe"], "run", str(self.pipeline), *place, "--json", *map(str, more)]
            code, wall, cpu, peak = watched(command, stdout=out)
        if code:
            sys.exit(f"{' '.join(command)} ended with {code}")
        return list(map(json.loads, events.read_text().splitlines())), wall, cpu, peak


def last(events, node, name):
    values = [event["value"] for event in events if event["type"] == "metric" and (event["node"], event["name"]) == (node, name)]
    return values[-1] if values else None


def crops(folder):
    runs = Runs(folder, "crops")
    _, wall, cpu, peak = runs.run("--to", "crops")
    out = out_folder(given)
    if out:
        parts = sorted((folder / "runs").rglob("crops/**/*.arrow"))
        with open(out / "pixels.u8", "wb") as file:
            for rows in arrow_rows(parts, "pixels"):
                np.ascontiguousarray(rows).tofile(file)
    return wall, cpu, peak, {}


def epoch(folder):
    # Vectors of all epochs are small, and another k needs them.
    runs = Runs(folder, "vectors", f", from: {json.dumps(given['weights'])}")
    events, wall, cpu, peak = runs.run()
    stages = {event["node"]: round(event["wall_s"], 2) for event in events if event["type"] == "node_finished"}
    idle = statistics.median(runs.run()[1] for _ in range(AGAIN))
    k = given["k"]
    _, changed, changed_cpu, _ = runs.run("--set", f"clusters.k={k + k // 10}")
    _, only, only_cpu, _ = runs.run("--set", f"clusters.k={k + k // 5}", "--to", "metrics")
    check = {"objective": last(events, "clusters@1", "objective"), "loss": last(events, "weights@1", "loss"), "idle": idle,
             "changed": [changed, changed_cpu], "clusters": [only, only_cpu], "stages": stages}
    return wall, cpu, peak, check


with tempfile.TemporaryDirectory(dir=given["folder"]) as scratch:
    wall, cpu, peak, check = {"crops": crops, "epoch": epoch}[given["of"]](pathlib.Path(scratch))
    print(json.dumps({"wall_s": wall, "cpu_s": cpu, "peak_anon_mib": peak, "check": check}))
