"""inputs: the files that both sides of a comparison read, made once by fixed seeds."""
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests/golden"))

ROWS = 8192  # Numbers are drawn so many rows at a time.
MEASURED = (0.08, 1.0), (3 / 4, 4 / 3)  # Shares and ratios of random crops, as published.


def written(path, rows, dims, make):
    """A file of single-precision numbers, made by `make(generator, rows, dims)` a few rows at a time."""
    generator = np.random.default_rng(31)
    with open(path, "wb") as file:
        for start in range(0, rows, ROWS):
            make(generator, min(ROWS, rows - start), dims).astype(np.float32).tofile(file)
    return path


def falling(generator, rows, dims):
    """Features whose spread falls as the 0.75th power of the dimension's rank, about a mean that is not 0."""
    return generator.standard_normal((rows, dims), np.float32) * np.arange(1.0, dims + 1) ** -0.75 + 0.5


def directions(generator, rows, dims):
    """Vectors of length 1 in all directions: what whitened features are like."""
    numbers = generator.standard_normal((rows, dims), np.float32)
    return numbers / np.linalg.norm(numbers, axis=1, keepdims=True)


def first_of(vectors, rows, dims, k, path):
    """k of the vectors, as first centroids."""
    chosen = np.random.default_rng(4).permutation(rows)[:k]
    np.memmap(vectors, np.float32, "r", shape=(rows, dims))[np.sort(chosen)].tofile(path)
    return path


def pixels(path, images, side):
    """Images of u8: coarse squares and noise. What the network computes takes as long for any."""
    generator = np.random.default_rng(5)
    coarse = generator.integers(0, 200, (images, side // 8, side // 8, 3), np.uint8)
    image = coarse.repeat(8, axis=1).repeat(8, axis=2)
    (image + generator.integers(0, 56, image.shape, np.uint8)).tofile(path)
    return path


def weights(path, arch, side, k):
    """A network as it is before training, with batch norm's statistics of no particular value."""
    import torch
    from nets import Net
    from safetensors.torch import save_file

    torch.manual_seed(6)
    net = Net(arch, True, side, k)
    for module in list(net.features) + list(net.classifier) + [net.top_layer]:
        if isinstance(module, torch.nn.Conv2d):
            fan = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            module.weight.data.normal_(0, (2 / fan) ** 0.5)
            module.bias.data.zero_()
        elif isinstance(module, torch.nn.Linear):
            module.weight.data.normal_(0, 0.01)
            module.bias.data.zero_()
        elif isinstance(module, torch.nn.BatchNorm2d):
            # torch's own: the mean is 0 and the variance 1.
            assert float(module.running_var.sum()) == module.num_features
    save_file(net.state_dict(), path)
    return path


def boxes(path, files):
    """A random crop and a mirror for each file, drawn as torchvision draws them."""
    import torch
    from PIL import Image
    from torchvision.transforms import RandomResizedCrop

    torch.manual_seed(7)
    lines = []
    for file in files:
        with Image.open(file) as image:
            box = RandomResizedCrop.get_params(image, *map(list, MEASURED))
        lines.append(" ".join(map(str, (*box, int(torch.rand(1) < 0.5)))))
    path.write_text("\n".join(lines) + "\n")
    return path
