"""crops_torchvision: torchvision's views of JPEG files, as u8 batches from a DataLoader with a worker a core."""
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, PILToTensor, Resize
from torchvision.transforms import functional as F

from side import CORES, Timed, out_folder, report, settings

SIDE, BATCH, WARM = 224, 256, 64
given = settings()
files = open(given["images"]).read().splitlines()
boxes = [list(map(int, line.split())) for line in open(given["boxes"])] if given["of"] == "boxes" else None
centre = Compose([Resize(256), CenterCrop(SIDE), PILToTensor()])


class Views(Dataset):
    def __len__(self):
        return len(files)

    def __getitem__(self, at):
        with Image.open(files[at]) as file:
            image = file.convert("RGB")
        if boxes is None:
            return centre(image)
        top, left, height, width, flip = boxes[at]
        image = F.resized_crop(image, top, left, height, width, [SIDE, SIDE], InterpolationMode.BILINEAR)
        return F.pil_to_tensor(F.hflip(image) if flip else image)


class InOrder(Sampler):
    """The first `count` files."""

    count = WARM

    def __iter__(self):
        return iter(range(min(self.count, len(files))))

    def __len__(self):
        return min(self.count, len(files))


torch.set_num_threads(CORES)
order = InOrder()
loader = DataLoader(Views(), batch_size=BATCH, sampler=order, num_workers=CORES, persistent_workers=True)
for batch in loader:
    pass
order.count = len(files)
with Timed() as spent:
    seen = sum(len(batch) for batch in loader)
assert seen == len(files)
out = out_folder(given)
if out:
    with open(out / "pixels.u8", "wb") as file:
        for batch in loader:
            file.write(np.ascontiguousarray(batch.permute(0, 2, 3, 1).numpy()).tobytes())
report(spent)
