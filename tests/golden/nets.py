"""Golden values for tests/suite/nets.rs: the networks, their training step and the probe, in plain PyTorch.

Written from the description in ARCHITECTURE.md's sources (layer tables, initialisation, optimisation), independently of
the Rust code. Weights are never stored: both languages fill them from the same integer hash (`uniform` below).

ResNets are torchvision's own, with the head called `top_layer`.

Run:  python tests/golden/nets.py        (torch 2.11, torchvision 0.26, numpy, safetensors; writes tests/golden/nets/*)
"""
import json
import math
import pathlib
import sys

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

OUT = pathlib.Path(__file__).with_name("nets")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Net(nn.Module):
    """Trunk and head; state_dict has the names of the files dcpipe writes."""

    def __init__(self, arch, sobel, input, k, dropout=0.5):
        super().__init__()
        build = {"alexnet": self.alexnet, "vgg16": self.vgg16}[arch]
        self.features, classifier, channels = build(2 if sobel else 3, dropout)
        with torch.no_grad(), torch.random.fork_rng():
            side = self.side(input)
        self.classifier = classifier(channels * side * side)
        self.top_layer = nn.Linear(4096, k)
        if sobel:
            grey, edges = nn.Conv2d(3, 1, 1), nn.Conv2d(1, 2, 3, padding=1)
            grey.weight.data.fill_(1 / 3)
            grey.bias.data.zero_()
            edges.weight.data[0, 0] = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
            edges.weight.data[1, 0] = torch.tensor([[1.0, 2, 1], [0, 0, 0], [-1, -2, -1]])
            edges.bias.data.zero_()
            self.sobel = nn.Sequential(grey, edges)
            for p in self.sobel.parameters():
                p.requires_grad = False
        else:
            self.sobel = None

    def alexnet(self, channels, dropout):
        def block(i, o, **kw):
            return [nn.Conv2d(i, o, **kw), nn.BatchNorm2d(o), nn.ReLU()]

        layers = block(channels, 96, kernel_size=11, stride=4, padding=2) + [nn.MaxPool2d(3, 2)]
        layers += block(96, 256, kernel_size=5, padding=2) + [nn.MaxPool2d(3, 2)]
        layers += block(256, 384, kernel_size=3, padding=1)
        layers += block(384, 384, kernel_size=3, padding=1)
        layers += block(384, 256, kernel_size=3, padding=1) + [nn.MaxPool2d(3, 2)]
        classifier = lambda flat: nn.Sequential(
            nn.Dropout(dropout), nn.Linear(flat, 4096), nn.ReLU(), nn.Dropout(dropout), nn.Linear(4096, 4096), nn.ReLU())
        return nn.Sequential(*layers), classifier, 256

    def vgg16(self, channels, dropout):
        layers = []
        for width, convs in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for _ in range(convs):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2, 2))
        classifier = lambda flat: nn.Sequential(
            nn.Linear(flat, 4096), nn.ReLU(), nn.Dropout(dropout), nn.Linear(4096, 4096), nn.ReLU())
        return nn.Sequential(*layers), classifier, 512

    def side(self, side):
        for layer in self.features:
            if isinstance(layer, nn.Conv2d):
                side = (side + 2 * layer.padding[0] - layer.kernel_size[0]) // layer.stride[0] + 1
            elif isinstance(layer, nn.MaxPool2d):
                side = (side - layer.kernel_size) // layer.stride + 1
        return side

    def front(self, x):
        return x if self.sobel is None else self.sobel(x)

    def forward(self, x):
        return self.top_layer(self.classifier(self.features(self.front(x)).flatten(1)))

    def feature(self, x):
        """FC2 before its ReLU."""
        return self.classifier[:-1](self.features(self.front(x)).flatten(1))

    def activations(self, x):
        """Post-ReLU map of every convolution."""
        x, maps = self.front(x), []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                maps.append(x)
        return maps


class ResNet(nn.Module):
    """torchvision's network without its head; `stem` is "imagenet", or "cifar": 3 x 3 by stride 1 and no pooling."""

    def __init__(self, arch, sobel, input, k, stem="imagenet", **_):
        super().__init__()
        import torchvision

        trunk = getattr(torchvision.models, arch)(num_classes=k)
        channels = 2 if sobel else 3
        if stem == "cifar":
            trunk.conv1, trunk.maxpool = nn.Conv2d(channels, 64, 3, 1, 1, bias=False), nn.Identity()
        elif sobel:
            trunk.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        trunk.top_layer, trunk.fc = trunk.fc, nn.Identity()
        trunk.sobel = Net("alexnet", True, 64, 1).sobel if sobel else nn.Sequential()
        self.trunk = trunk

    def state_dict(self, *args, **kwargs):
        return self.trunk.state_dict(*args, **kwargs)

    def named_parameters(self, *args, **kwargs):
        return self.trunk.named_parameters(*args, **kwargs)

    @property
    def top_layer(self):
        return self.trunk.top_layer

    def front(self, x):
        return self.trunk.sobel(x)

    def feature(self, x):
        """What enters the head: the mean over the last map."""
        return self.trunk(self.front(x))

    def forward(self, x):
        return self.trunk.top_layer(self.feature(x))

    def activations(self, x):
        """Behind the stem's ReLU and behind each stage, by name."""
        t = self.trunk
        x = t.relu(t.bn1(t.conv1(self.front(x))))
        maps = {"conv1": x}
        x = t.maxpool(x)
        for name in ("layer1", "layer2", "layer3", "layer4"):
            x = maps[name] = getattr(t, name)(x)
        return maps


def normalise(pixels, dtype=torch.float32):
    """u8 [n, s, s, 3] -> [n, 3, s, s], the way of ToTensor and Normalize."""
    x = torch.as_tensor(pixels).permute(0, 3, 1, 2).to(dtype) / 255
    return (x - torch.tensor(MEAN, dtype=dtype).view(3, 1, 1)) / torch.tensor(STD, dtype=dtype).view(3, 1, 1)


def bits(name, count):
    """64-bit values: FNV-1a of the name, then SplitMix64's finaliser of seed + i."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) % 2**64
    h = np.uint64(seed) + np.arange(count, dtype=np.uint64)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


def uniform(name, count):
    """f64 in [-1, 1)."""
    return (bits(name, count) >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1


def filled(name, shape):
    """The test value of a parameter, as f64; None for what the network brings itself."""
    u = uniform(name, math.prod(shape)).reshape(shape)
    if name.startswith("sobel") or name.endswith("num_batches_tracked"):
        return None
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        return 1 + 0.2 * u
    if len(shape) == 2:
        return 0.0173 * u
    if len(shape) > 1:
        return math.sqrt(6 / math.prod(shape[1:])) * u
    return 0.1 * u


def fill(net, dtype):
    net.to(dtype)
    for name, tensor in net.state_dict().items():
        value = filled(name, tuple(tensor.shape))
        if value is not None:
            tensor.copy_(torch.from_numpy(value).to(torch.float32).to(dtype))
    return net


def pixels(name, n, side):
    return (bits(name, n * side * side * 3) >> np.uint64(56)).astype(np.uint8).reshape(n, side, side, 3)


def sample(tensor, most):
    """Every so-many-th value, then the sum and the sum of magnitudes, as f64."""
    flat = tensor.detach().double().flatten()
    stride = max(1, flat.numel() // most)
    return torch.cat([flat[::stride][:most], flat.sum()[None], flat.abs().sum()[None]])


NETS = (("alexnet", True, 64), ("alexnet", False, 67), ("vgg16", True, 32), ("vgg16", False, 64), ("alexnet", True, 224))


def keys():
    table = {}
    for arch, sobel, input in NETS + (("vgg16", True, 224),):
        with torch.device("meta"):
            net = Net.__new__(Net)
            Net.__init__(net, arch, sobel, input, 7)
        table[f"{arch} {sobel} {input}"] = {n: list(t.shape) for n, t in net.state_dict().items()}
    (OUT / "keys.json").write_text(json.dumps(table, indent=0).replace(",\n", ", ").replace("[\n", "[").replace("\n]", "]"))


RESNETS = (
    ("resnet18", False, 64, "imagenet"),
    ("resnet18", True, 33, "imagenet"),
    ("resnet18", False, 32, "cifar"),
    ("resnet50", False, 64, "imagenet"),
)


def resnets():
    """Names and shapes, maps, features, and two steps of training."""
    table, out = {}, {}
    for arch, sobel, input, stem in RESNETS:
        net, tag = ResNet(arch, sobel, input, 7, stem), f"{arch} {sobel} {input} {stem}"
        table[tag] = {n: list(t.shape) for n, t in net.state_dict().items()}
        net = fill(net, torch.float64).eval()
        x = normalise(pixels("pixels", 3, input), torch.float64)
        with torch.no_grad():
            for name, map in net.activations(x).items():
                out[f"{tag} {name}"] = sample(map, 64)
            out[f"{tag} feature"] = sample(net.feature(x), 256)
    (OUT / "resnet_keys.json").write_text(
        json.dumps(table, indent=0).replace(",\n", ", ").replace("[\n", "[").replace("\n]", "]"))
    save_file(out, OUT / "resnet_activations.safetensors")
    train("resnet18", 64, 2, ResNet, (torch.float64,))


def small():
    """alexnet_small at 32 pixels: names and shapes, maps, features."""
    layers, channels = [], 3
    for width, pooled in ((64, True), (192, True), (384, False), (256, False), (256, True)):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.MaxPool2d(2, 2)] if pooled else []
        channels = width
    net = nn.Module()
    net.features = nn.Sequential(*layers)
    net.classifier = nn.Sequential(
        nn.Dropout(), nn.Linear(256 * 4 * 4, 1024), nn.ReLU(), nn.Dropout(), nn.Linear(1024, 1024), nn.ReLU())
    net.top_layer = nn.Linear(1024, 7)
    table = {n: list(t.shape) for n, t in net.state_dict().items()}
    (OUT / "alexnet_small.json").write_text(json.dumps(table))
    fill(net, torch.float64).eval()
    x, out, maps = normalise(pixels("pixels", 3, 32), torch.float64), {}, 0
    with torch.no_grad():
        for layer in net.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                maps += 1
                out[f"alexnet_small False 32 conv{maps}"] = sample(x, 64)
        out["alexnet_small False 32 fc2"] = sample(net.classifier[:-1](x.flatten(1)), 256)
    save_file(out, OUT / "alexnet_small.safetensors")


def activations():
    out = {}
    for arch, sobel, input in NETS:
        net = fill(Net(arch, sobel, input, 7), torch.float64).eval()
        x = normalise(pixels("pixels", 3, input), torch.float64)
        tag = f"{arch} {sobel} {input}"
        with torch.no_grad():
            for i, map in enumerate(net.activations(x)):
                out[f"{tag} conv{i + 1}"] = sample(map, 64)
            out[f"{tag} fc2"] = sample(net.feature(x), 256)
    save_file(out, OUT / "activations.safetensors")


def sobel():
    net = Net("alexnet", True, 64, 7).double()
    noise, flat = pixels("sobel", 1, 9), np.full((1, 9, 9, 3), 200, np.uint8)
    out = {n: net.front(normalise(p, torch.float64))[0].contiguous() for n, p in (("noise", noise), ("flat", flat))}
    save_file(out, OUT / "sobel.safetensors")


def training():
    for arch, input, steps in (("alexnet", 64, 10), ("vgg16", 32, 2)):
        train(arch, input, steps, Net, (torch.float64, torch.float32))


def train(arch, input, steps, build, dtypes):
    """Two optimizers: the body's with momentum, the head's without; weight decay on everything but Sobel."""
    out = {}
    for dtype in dtypes:
        net = fill(build(arch, True, input, 10, dropout=0.0), dtype).train()
        body = [p for n, p in net.named_parameters() if p.requires_grad and not n.startswith("top_layer")]
        optim_body = torch.optim.SGD(body, lr=0.05, momentum=0.9, weight_decay=1e-5)
        optim_head = torch.optim.SGD(net.top_layer.parameters(), lr=0.05, weight_decay=1e-5)
        losses, tag = [], str(dtype).removeprefix("torch.")
        for step in range(steps):
            x = normalise(pixels(f"step {step}", 8, input), dtype)
            y = torch.from_numpy((bits(f"labels {step}", 8) % np.uint64(10)).astype(np.int64))
            loss = F.cross_entropy(net(x), y)
            optim_body.zero_grad()
            optim_head.zero_grad()
            loss.backward()
            optim_body.step()
            optim_head.step()
            losses.append(loss.item())
            if dtype == torch.float64 and step + 1 in (1, steps):
                at = f"{tag} after {step + 1}"
                for name, tensor in net.state_dict().items():
                    out[f"{at} {name}"] = sample(tensor, 12)
                names = [n for n, p in net.named_parameters() if p.requires_grad and not n.startswith("top_layer")]
                for name, p in zip(names, body):
                    out[f"{at} momentum {name}"] = sample(optim_body.state[p]["momentum_buffer"], 12)
        out[f"{tag} loss"] = torch.tensor(losses, dtype=torch.float64)
    save_file(out, OUT / f"training_{arch}.safetensors")


def probe():
    pools = ((6, 6, 3), (4, 4, 0), (3, 3, 1), (3, 3, 1), (2, 2, 0))
    net = Net("alexnet", True, 224, 7).eval()
    with torch.no_grad():
        maps = net.activations(torch.zeros(1, 3, 224, 224))
    dims = [F.avg_pool2d(m, *p).numel() for m, p in zip(maps, pools)]
    lr = [0.01 / math.sqrt(1 + 0.01 * 1e-4 * t) for t in (0, 1, 1000, 450000)]
    logits = torch.from_numpy(uniform("logits", 2 * 10 * 5).reshape(2, 10, 5) * 4)
    crops = logits.softmax(2).mean(1)
    bank = F.normalize(torch.from_numpy(uniform("bank", 60 * 16).reshape(60, 16)), dim=1)
    queries = F.normalize(torch.from_numpy(uniform("queries", 9 * 16).reshape(9, 16)), dim=1)
    labels = torch.from_numpy((bits("bank labels", 60) % np.uint64(4)).astype(np.int64))
    near, who = (queries @ bank.T).topk(10, dim=1)
    votes = torch.zeros(9, 4, dtype=torch.float64)
    votes.scatter_add_(1, labels[who], (near / 0.07).exp())
    table = {"dims": dims, "lr": lr, "ten_crop": crops.tolist(), "knn": votes.argmax(1).tolist(), "votes": votes.tolist()}
    (OUT / "probe.json").write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    torch.set_num_threads(2)
    for make in (keys, activations, sobel, training, resnets, small, probe):
        if len(sys.argv) < 2 or make.__name__ in sys.argv[1:]:
            make()
