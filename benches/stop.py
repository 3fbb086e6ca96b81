#!/usr/bin/env python3
"""stop: how long Ctrl-C takes during extraction and training at 224 pixels, and whether the resumed run's bytes are the same.

    benches/stop.py DIR ARCH [DCPIPE]      a folder of photographs; alexnet or vgg16

Each line: the node, how many seconds after its start SIGINT came, how many until the exit, and the exit code. At the end
the run is resumed, and compared node by node with one that nobody stopped."""

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PIPELINE = """name: stop
seed: 3
epochs: 1
once:
  dataset: {{ stage: scan, with: {{ root: {images} }} }}
  crops: {{ stage: decode, from: {{ dataset: dataset }}, with: {{ short_side: 256, crop: 224 }} }}
  weights: {{ stage: init, with: {{ arch: {arch}, sobel: true, input: 224 }} }}
each_epoch:
  features: {{ stage: extract, from: {{ crops: crops, weights: weights@prev }}, with: {{ batch: 256 }} }}
  vectors: {{ stage: whiten, from: {{ features: features }}, with: {{ dims: 32 }} }}
  clusters: {{ stage: cluster, from: {{ vectors: vectors }}, with: {{ k: 20, iterations: 5 }} }}
  manifest: {{ stage: sample, from: {{ clusters: clusters }}, with: {{ draw: uniform, length: {length} }} }}
  weights: {{ stage: train, from: {{ dataset: dataset, manifest: manifest, weights: weights@prev }}, with: {{ batch: 64 }} }}
"""

# Images of the one epoch: a minute or two of training on two cores.
LENGTH = {"alexnet": 600, "vgg16": 128}


def digests(command):
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    events = map(json.loads, done.stdout.splitlines())
    return {event["node"]: event["artifact"] for event in events if event["type"] in ("node_hit", "node_finished")}


def stop(command, node, seconds):
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in run.stdout:
        event = json.loads(line)
        if event["type"] == "node_started" and event["node"] == node:
            break
    time.sleep(seconds)
    began = time.monotonic()
    run.send_signal(signal.SIGINT)
    run.stdout.read()
    print(f"{node} {seconds:3} s: {time.monotonic() - began:.1f} s, exit code {run.wait()}", flush=True)


def main():
    images, arch = Path(sys.argv[1]).resolve(), sys.argv[2]
    program = sys.argv[3] if len(sys.argv) > 3 else str(ROOT / "target/release/dcpipe")
    with tempfile.TemporaryDirectory() as scratch:
        pipeline = Path(scratch) / "stop.yaml"
        pipeline.write_text(PIPELINE.format(images=images, arch=arch, length=LENGTH[arch]))
        command = [program, "run", str(pipeline), "--json", "--out", f"{scratch}/runs", "--store"]
        for node, seconds in (("features@1", 5), ("features@1", 9)):
            stop([*command, f"{scratch}/store"], node, seconds)
        subprocess.run([*command, f"{scratch}/store", "--to", "manifest@1"], stdout=subprocess.DEVNULL, check=True)
        for node, seconds in (("weights@1", 5), ("weights@1", 10)):
            stop([*command, f"{scratch}/store"], node, seconds)
        same = digests([*command, f"{scratch}/store"]) == digests([*command, f"{scratch}/undisturbed"])
        print("resumed and undisturbed are the same" if same else "RESUMED AND UNDISTURBED DIFFER")


main()
