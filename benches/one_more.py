#!/usr/bin/env python3
"""one_more: what one image more, and one bad file more, cost in a folder whose crops and features are there.

    benches/one_more.py DIR [COUNT] [DCPIPE]      the first COUNT (10,000) files below DIR, in sorted order, but for one

The images are copied to a scratch folder, and `pipelines/cifar10.yaml` runs to features@1: over all but the middle one, over
all, over all and a file that is no image, and once more."""

import collections
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SETTLED = 2.5  # Seconds after which scan remembers a file.
ROOT = Path(__file__).resolve().parent.parent


def run(what, command):
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.monotonic() - began
    if done.returncode:
        sys.exit(done.stderr)
    parts = collections.Counter()
    for event in map(json.loads, done.stdout.splitlines()):
        if event["type"] == "put_down":
            parts[event["node"], event["hit"]] += 1
    told = ", ".join(f"{node}: {parts[node, False]} made, {parts[node, True]} taken" for node in sorted({n for n, _ in parts}))
    print(f"{what:24} {seconds:6.1f} s  {told or 'no part touched'}")


def main():
    source, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    program = sys.argv[3] if len(sys.argv) > 3 else str(ROOT / "target/release/dcpipe")
    files = sorted(path for path in source.rglob("*") if path.is_file())[: count + 1]
    with tempfile.TemporaryDirectory() as scratch:
        images = Path(scratch) / "images"
        command = [program, "run", str(ROOT / "pipelines/cifar10.yaml"), "--json", "--set", f"vars.images={images}",
                   "--set", "epochs=1", "--to", "features@1", "--store", f"{scratch}/store", "--out", f"{scratch}/runs"]
        middle = files.pop(len(files) // 2)
        for path in files:
            to = images / path.relative_to(source)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, to)
        time.sleep(SETTLED)
        run(f"{len(files):,} images", command)
        shutil.copy(middle, images / middle.relative_to(source))
        run("one more in the middle", command)
        (images / middle.relative_to(source)).with_name("no-image.jpg").write_text("no image")
        run("one bad file more", command)
        run("nothing more", command)


main()
