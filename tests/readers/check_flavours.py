"""check_flavours: compares what a run took and refused of a folder of image files with what Pillow takes and refuses.

    python tests/readers/check_flavours.py target/release/dcpipe DIR [--set dataset.on_damage=take]

runs `DCPIPE run pipelines/imagenet.yaml --to crops` in a folder that it deletes afterwards, then prints five counts and
a line for each file that is not equal: what dcpipe says, what Pillow says, how many samples differ and by how much.
Needs Pillow >= 13, numpy, pyarrow.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy
import pyarrow
import pyarrow.parquet
from PIL import Image

SHORT_SIDE, CROP = 256, 224


def resized(width, height):
    """torchvision's Resize(256)."""
    short, long = min(width, height), max(width, height)
    long = int(SHORT_SIDE * long / short)
    return (SHORT_SIDE, long) if width <= height else (long, SHORT_SIDE)


def view(picture):
    """torchvision's Resize(256) and CenterCrop(224); never smaller than the crop, since 256 is above 224."""
    picture = picture.resize(resized(*picture.size), Image.BILINEAR)
    left, top = (round((side - CROP) / 2.0) for side in picture.size)
    return numpy.asarray(picture.crop((left, top, left + CROP, top + CROP)))


def pillow(path):
    """The view, or why there is none."""
    try:
        return view(Image.open(path).convert("RGB"))
    except Exception as error:  # Pillow raises errors of many kinds.
        return f"{type(error).__name__}: {error}"


def crops(folder):
    for part in sorted(folder.glob("part-*.arrow")):
        for batch in pyarrow.ipc.open_file(pyarrow.memory_map(str(part))).read_all().to_batches():
            yield from batch.column("pixels").flatten().to_numpy().reshape(-1, CROP, CROP, 3)


def run(program, images, out, more):
    settings = [*more, f"vars.images={images}", "keep=[crops]", "dataset.max_bad_share=1"]
    command = [program, "run", "pipelines/imagenet.yaml", "--to", "crops", "--store", out / "store", "--out", out / "run"]
    done = subprocess.run([*map(str, command), *(x for s in settings for x in ("--set", s))], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("images", type=pathlib.Path)
    parser.add_argument("--set", action="append", default=[])
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    counts, lines = dict.fromkeys(["equal", "both refuse", "differ", "only dcpipe takes", "only Pillow takes"], 0), []
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder)
        run(args.program, args.images.resolve(), out, args.set)
        paths = pyarrow.parquet.read_table(out / "run/imagenet/images.parquet").column("path").to_pylist()
        for path, ours in zip(paths, crops(out / "run/imagenet/crops"), strict=True):
            theirs = pillow(args.images / path)
            if isinstance(theirs, str):
                kind, detail = "only dcpipe takes", theirs
            else:
                apart = numpy.abs(ours.astype(int) - theirs.astype(int))
                kind = "differ" if apart.any() else "equal"
                detail = f"{(apart > 0).mean():.1%} of samples, by {apart.max()} at most"
            counts[kind] += 1
            lines += [(kind, path, detail)] if kind != "equal" else []
        for bad in pyarrow.parquet.read_table(out / "run/imagenet/bad.parquet").to_pylist():
            theirs = pillow(args.images / bad["path"])
            kind = "both refuse" if isinstance(theirs, str) else "only Pillow takes"
            counts[kind] += 1
            lines.append((kind, bad["path"], f"{bad['reason']}: {bad['detail']}"))
    for kind, path, detail in sorted(lines):
        print(f"{kind:18} {path:55} {detail}")
    print(", ".join(f"{name} {count}" for name, count in counts.items()))


if __name__ == "__main__":
    main()
