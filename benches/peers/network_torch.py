"""network_torch: the network in eager PyTorch, channels-last: features, or steps of training with two optimizers."""
import pathlib
import sys

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from side import CORES, Timed, out_folder, report, settings

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests/golden"))
from nets import Net, normalise  # noqa: E402

FEW, SLOW, LR = 32, 0.001, 0.05
GROUP = 64  # Images that pass together without a gradient, as in dcpipe: larger maps cost more than they save.
given = settings()
side, k, size = given["input"], given["k"], given["batch"]
pixels = np.fromfile(given["pixels"], np.uint8).reshape(-1, side, side, 3)
out = out_folder(given)
torch.set_num_threads(CORES)


def network(dropout=0.5):
    net = Net(given["arch"], True, side, k, dropout)
    net.load_state_dict(load_file(given["weights"]))
    for module in net.modules():
        if isinstance(module, torch.nn.ReLU):
            module.inplace = True
    return net.to(memory_format=torch.channels_last)


def batches():
    return ((pixels[at : at + size], labels[at : at + size]) for at in range(0, len(pixels), size))


@torch.no_grad()
def features(pixels):
    parts = (pixels[at : at + GROUP] for at in range(0, len(pixels), GROUP))
    return torch.cat([net.feature(normalise(part)) for part in parts])


def stepper(net, lr):
    """A step as the published loop makes it: momentum for the body, none for the head."""
    body = [p for n, p in net.named_parameters() if p.requires_grad and not n.startswith("top_layer")]
    optim_body = torch.optim.SGD(body, lr=lr, momentum=0.9, weight_decay=1e-5)
    optim_head = torch.optim.SGD(net.top_layer.parameters(), lr=lr, weight_decay=1e-5)

    def step(pixels, labels):
        loss = F.cross_entropy(net(normalise(pixels)), labels)
        optim_body.zero_grad()
        optim_head.zero_grad()
        loss.backward()
        optim_body.step()
        optim_head.step()
        return loss.item()

    return step


if given["of"] == "features":
    net = network().eval()
    features(pixels[:16])
    with Timed() as spent:
        found = features(pixels)
    if out:
        found.numpy().tofile(out / "features.f32")
    report(spent)
else:
    labels = torch.arange(len(pixels)) % k
    step = stepper(network().train(), LR)
    step(*next(batches()))
    with Timed() as spent:
        for batch in batches():
            step(*batch)
    losses = []
    if out:
        step = stepper(network(0.0).train(), SLOW)
        losses = [step(pixels[:FEW], labels[:FEW]) for _ in range(3)]
    report(spent, losses=losses)
