"""Golden values for tests/suite/epochs_v2.rs: three epochs of DeepCluster-v2 on 32 drawn images, nothing left to chance.

A pass in training mode fills the bank -> spherical k-means of three heads (numpy, f64) -> one pass of training with
multi-crop towards the centroids (torch), which fills the bank again -> the next epoch. What a real run draws is given:
weights, first centroids (as image ids), orders and crops come from the integer hash of nets.py.

Run:  python tests/golden/epochs_v2.py        (torch 2.11, torchvision, numpy, safetensors; writes tests/golden/epochs_v2/*)
"""
import math
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from nets import ResNet, bits, fill, normalise, uniform

OUT = pathlib.Path(__file__).with_suffix("")
IMAGES, KINDS, EPOCHS, BATCH = 32, 6, 3, 12
SIZES = ((12, 2), (9, 1))  # side, crops of an image
HIDDEN, DIMS, K, HEADS, ITERATIONS = 32, 8, 5, 3, 10
TEMPERATURE, TRUST, MOMENTUM, DECAY = 0.1, 0.003, 0.9, 1e-3
WARM_UP, FIRST, PEAK, LAST = 1, 0.1, 1.0, 0.02


def drawing(epoch, image, crop, side):
    """u8 [s, s, 3]: one of six kinds of drawing, moved a little, with a little noise."""
    h = bits(f"crop {epoch} {image} {crop}", 2 + side * side * 3)
    dx, dy = int(h[0] % np.uint64(3)), int(h[1] % np.uint64(3))
    noise = (h[2:] % np.uint64(48)).astype(np.int64).reshape(side, side, 3)
    y, x = np.mgrid[:side, :side]
    x, y = x + dx, y + dy
    on = (
        y // 2 % 2,
        x // 2 % 2,
        (x + y) // 4 % 2,
        (x // 4 + y // 4) % 2,
        ((x - 8) ** 2 + (y - 8) ** 2 < 25) * 1,
        (x * y // 8) % 2,
    )[image % KINDS]
    return (40 + 160 * on[:, :, None] + noise).astype(np.uint8)


def order(name):
    """The images in the order of their hashes."""
    return np.argsort(bits(name, IMAGES), kind="stable")


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = ResNet("resnet18", False, SIZES[0][0], 1, "cifar")
        self.projection_head = nn.Sequential(
            nn.Linear(512, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, DIMS))

    def forward(self, epoch, images, sizes, dtype):
        """[crops x images, DIMS], crop by crop; crops of one size pass the trunk together, the head takes all at once."""
        features, first = [], 0
        for side, count in sizes:
            crops = [drawing(epoch, i, first + c, side) for c in range(count) for i in images]
            features.append(self.trunk.feature(normalise(np.stack(crops), dtype)))
            first += count
        return F.normalize(self.projection_head(torch.cat(features)), dim=1)


def filled(model, dtype):
    model.to(dtype)
    fill(model.trunk, dtype)
    for name, tensor in model.projection_head.state_dict().items():
        shape, name = tuple(tensor.shape), f"projection_head.{name}"
        if name.endswith("num_batches_tracked"):
            continue
        scale = math.sqrt(3 / shape[1]) if len(shape) == 2 else 0.2 if "head.1.w" in name or "_var" in name else 0.02
        value = scale * uniform(name, math.prod(shape)).reshape(shape)
        if name.endswith("running_var") or name == "projection_head.1.weight":
            value = 1 + value
        tensor.copy_(torch.from_numpy(value).float().to(dtype))
    return model


def spherical(bank, start):
    """k-means by the largest dot product; an empty cluster keeps its centroid. Stored in f32, as files have it."""
    rows = bank.astype(np.float64)
    unit = lambda c: (c / np.linalg.norm(c, axis=1, keepdims=True)).astype(np.float32).astype(np.float64)
    centroids, empty = unit(rows[start]), []
    for _ in range(ITERATIONS):
        nearest = (rows @ centroids.T).argmax(1)
        counts = np.bincount(nearest, minlength=K)
        empty.append(int((counts == 0).sum()))
        for k in range(K):
            if counts[k]:
                centroids[k] = rows[nearest == k].mean(0)
        centroids = unit(centroids)
    scores = rows @ centroids.T
    two = np.sort(scores, axis=1)[:, -2:]
    print("    empty", empty, "smallest margin", (two[:, 1] - two[:, 0]).min())
    return scores.argmax(1), centroids, empty


def rate(at):
    """The learning rate at so many epochs from the beginning."""
    if at < WARM_UP:
        return FIRST + (PEAK - FIRST) * at / WARM_UP
    share = (at - WARM_UP) / (EPOCHS - WARM_UP)
    return LAST + (PEAK - LAST) * (1 + math.cos(math.pi * share)) / 2


def passes(epoch):
    """The batches of a pass; all images, in parts that differ by one at most."""
    images, steps = order(f"order {epoch}"), math.ceil(IMAGES / BATCH)
    return [images[IMAGES * s // steps:IMAGES * (s + 1) // steps] for s in range(steps)]


def put(bank, batch, projected):
    for crop in range(2):
        bank[crop, batch] = projected[crop * len(batch):(crop + 1) * len(batch)].detach().float().numpy()


def epochs(dtype):
    model = filled(Model(), dtype).train()
    parameters = [p for n, p in model.named_parameters() if "top_layer" not in n]
    buffers = [torch.zeros_like(p) for p in parameters]
    bank = np.zeros((2, IMAGES, DIMS), np.float32)
    with torch.no_grad():
        for batch in passes(0):
            put(bank, batch, model(0, batch, SIZES[:1], dtype))
    out = {"bank": [bank.copy()], "clusters": [], "empty": [], "loss": [], "rate": []}
    for epoch in range(1, EPOCHS + 1):
        labels, prototypes = [], []
        for head in range(HEADS):
            start = order(f"centroids {epoch} {head}")[:K]
            if epoch == 2 and head == 0:
                start[-1] = start[0]  # one image starts two clusters, one of which is then empty
            nearest, centroids, empty = spherical(bank[head % 2], start)
            labels.append(torch.from_numpy(nearest))
            prototypes.append(torch.from_numpy(centroids).to(dtype))
            out["empty"].append(empty)
        losses, rates = [], []
        for step, batch in enumerate(passes(epoch)):
            projected = model(epoch, batch, SIZES, dtype)
            crops = len(projected) // len(batch)
            loss = sum(
                F.cross_entropy(projected @ p.T / TEMPERATURE, label[batch].repeat(crops))
                for label, p in zip(labels, prototypes)
            ) / HEADS
            for p in parameters:
                p.grad = None
            loss.backward()
            lr = rate(epoch - 1 + step / len(passes(epoch)))
            with torch.no_grad():
                for p, buffer in zip(parameters, buffers):
                    size, slope = p.norm(), p.grad.norm()
                    move = p.grad
                    if size > 0 and slope > 0:
                        move = (p.grad + DECAY * p) * TRUST * size / (slope + DECAY * size + 1e-8)
                    buffer.mul_(MOMENTUM).add_(move)
                    p.sub_(lr * buffer)
            put(bank, batch, projected)
            losses.append(loss.item())
            rates.append(lr)
        print("  epoch", epoch, "loss", losses)
        out["bank"].append(bank.copy())
        out["clusters"].append(torch.stack(labels).tolist())
        out["loss"].append(losses)
        out["rate"].append(rates)
    return {name: torch.tensor(np.array(values), dtype=torch.float64) for name, values in out.items()}


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    both = {str(dtype).removeprefix("torch."): epochs(dtype) for dtype in (torch.float64, torch.float32)}
    print("f32 from f64", ((both["float32"]["loss"] / both["float64"]["loss"]) - 1).abs().amax(1))
    save_file({f"{kind} {name}": t for kind, run in both.items() for name, t in run.items()}, OUT / "run.safetensors")
