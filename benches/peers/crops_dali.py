"""crops_dali: DALI's clustering view of JPEG files on the processor, as u8 batches, with a thread a core."""
import numpy as np
from nvidia.dali import fn, pipeline_def, types

from side import CORES, Timed, out_folder, report, settings

SIDE, BATCH, WARM = 224, 256, 64
given = settings()
files = open(given["images"]).read().splitlines()


@pipeline_def(batch_size=BATCH, num_threads=CORES, device_id=None)
def view(files):
    bytes, _ = fn.readers.file(files=files)
    image = fn.decoders.image(bytes, device="cpu", output_type=types.RGB)
    image = fn.resize(image, device="cpu", resize_shorter=256, interp_type=types.INTERP_LINEAR, antialias=True)
    return fn.crop(image, crop=(SIDE, SIDE), dtype=types.UINT8)


def batches(pipeline, count):
    for start in range(0, count, BATCH):
        yield pipeline.run()[0].as_array()[: count - start]


def built(files):
    pipeline = view(files)
    pipeline.build()
    return pipeline


for batch in batches(built(files[:WARM]), min(WARM, len(files))):
    pass
pipeline = built(files)
with Timed() as spent:
    seen = sum(len(batch) for batch in batches(pipeline, len(files)))
assert seen == len(files)
out = out_folder(given)
if out:
    with open(out / "pixels.u8", "wb") as file:
        for batch in batches(built(files), len(files)):
            file.write(np.ascontiguousarray(batch).tobytes())
report(spent)
