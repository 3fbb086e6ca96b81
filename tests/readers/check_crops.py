"""check_crops: counts the samples in which a run's crops differ from Pillow's and torchvision's.

    python tests/readers/check_crops.py runs/imagenet DIR [--short-side 256] [--crop 224]

reads runs/imagenet/images.parquet and runs/imagenet/crops/part-*.arrow (`keep: [crops]`), and the images below DIR.
Needs Pillow >= 13 (older versions resize tall images in another order of passes, and differ by 1), pyarrow, and takes
torchvision's Resize and CenterCrop where it is there; elsewhere their two rules, which are written out below.
"""
import argparse
import pathlib
import sys

import numpy
import pyarrow
import pyarrow.parquet
from PIL import Image

try:
    from torchvision.transforms import CenterCrop, Compose, Resize
except ImportError:
    Resize = None


def rules(short_side, crop):
    """torchvision's Resize to one side, and CenterCrop of what is at least as large, on a picture of Pillow."""

    def view(picture):
        width, height = picture.size
        long_side = int(short_side * max(width, height) / min(width, height))
        size = (short_side, long_side) if width <= height else (long_side, short_side)
        picture = picture if size == picture.size else picture.resize(size, Image.Resampling.BILINEAR)
        left, top = (int(round((side - crop) / 2.0)) for side in picture.size)
        return picture.crop((left, top, left + crop, top + crop))

    return view


parser = argparse.ArgumentParser()
parser.add_argument("out", type=pathlib.Path)
parser.add_argument("images", type=pathlib.Path)
parser.add_argument("--short-side", type=int, default=256)
parser.add_argument("--crop", type=int, default=224)
args = parser.parse_args()

if Resize is None:
    view = rules(args.short_side, args.crop)
else:
    view = Compose([Resize(args.short_side), CenterCrop(args.crop)])
paths = pyarrow.parquet.read_table(args.out / "images.parquet").column("path").to_pylist()
samples = differing = largest = seen = 0
for part in sorted((args.out / "crops").glob("part-*.arrow")):
    table = pyarrow.ipc.open_file(pyarrow.memory_map(str(part))).read_all()
    for batch in table.to_batches():
        pixels = batch.column("pixels").flatten().to_numpy().reshape(-1, args.crop, args.crop, 3)
        for ours in pixels:
            theirs = numpy.asarray(view(Image.open(args.images / paths[seen]).convert("RGB")))
            difference = numpy.abs(ours.astype(int) - theirs.astype(int))
            samples += difference.size
            differing += int((difference > 0).sum())
            largest = max(largest, int(difference.max()))
            seen += 1
print(f"{seen} crops, {differing} of {samples:,} samples differ, largest difference {largest}")
sys.exit(0 if seen == len(paths) > 0 and differing == 0 else 1)
