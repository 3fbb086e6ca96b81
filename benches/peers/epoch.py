"""epoch: one epoch of DeepCluster as the published loop goes, with torch (channels-last), torchvision and faiss-cpu.

Written from a description of the method. It reads the images twice, as the published loop does: once by the clustering
view, and once by random crops. It saves the network and the clusters at the end.
"""
import pathlib
import pickle
import sys
import time

import faiss
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import default_loader

from side import CORES, Timed, report, settings

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests/golden"))
from nets import MEAN, STD, Net  # noqa: E402

SIDE, BATCH, ITERATIONS = 224, 256, 20
given = settings()
k, dims = given["k"], given["dims"]
folder = pathlib.Path(given["folder"])
torch.set_num_threads(CORES)
NUMBERS = [T.ToTensor(), T.Normalize(MEAN, STD)]
CENTRE = T.Compose([T.Resize(256), T.CenterCrop(SIDE), *NUMBERS])
RANDOM = T.Compose([T.RandomResizedCrop(SIDE), T.RandomHorizontalFlip(), *NUMBERS])


class Relabelled(Dataset):
    """Images with their pseudo-labels, in the order in which they were drawn."""

    def __init__(self, paths, labels, order):
        self.paths, self.labels, self.order = paths, labels, order

    def __len__(self):
        return len(self.order)

    def __getitem__(self, at):
        image = self.order[at]
        return RANDOM(default_loader(self.paths[image])), self.labels[image]


@torch.no_grad()
def features_of(net, dataset):
    net.eval()
    loader = DataLoader(dataset, batch_size=BATCH, num_workers=CORES)
    features = np.zeros((len(dataset), 4096), np.float32)
    for number, (images, _) in enumerate(loader):
        images = images.to(memory_format=torch.channels_last)
        features[number * BATCH : number * BATCH + len(images)] = net.feature(images).numpy()
    return features


def whitened(features):
    pca = faiss.PCAMatrix(features.shape[1], dims, -0.5)
    pca.train(features)
    vectors = pca.apply(features)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def clustered(vectors):
    clustering = faiss.Clustering(dims, k)
    clustering.niter, clustering.seed = ITERATIONS, 31
    clustering.max_points_per_centroid = 10_000_000
    clustering.min_points_per_centroid = 1  # It only decides about a warning.
    clustering.early_stop_threshold = -1
    index = faiss.IndexFlatL2(dims)
    clustering.train(vectors, index)
    return index.search(vectors, 1)[1].ravel(), clustering.iteration_stats.at(ITERATIONS - 1).obj


def drawn(labels):
    """Every cluster equally often, in random order, as many as there are images."""
    generator = np.random.default_rng(31)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    share = len(labels) // len(members) + 1
    order = np.concatenate([generator.choice(images, share, replace=len(images) <= share) for images in members])
    generator.shuffle(order)
    return order[: len(labels)]


def trained(net, paths, labels):
    """One pass of training with a new head; the head's optimizer has no momentum. The mean of the losses by image."""
    net.top_layer = torch.nn.Linear(4096, k)
    net.top_layer.weight.data.normal_(0, 0.01)
    net.top_layer.bias.data.zero_()
    body = [p for n, p in net.named_parameters() if p.requires_grad and not n.startswith("top_layer")]
    optim_body = torch.optim.SGD(body, lr=0.05, momentum=0.9, weight_decay=1e-5)
    optim_head = torch.optim.SGD(net.top_layer.parameters(), lr=0.05, weight_decay=1e-5)
    net.train()
    loader = DataLoader(Relabelled(paths, labels, drawn(labels)), batch_size=BATCH, num_workers=CORES)
    losses = []
    for images, targets in loader:
        loss = F.cross_entropy(net(images.to(memory_format=torch.channels_last)), targets)
        losses += [loss.item()] * len(images)
        optim_body.zero_grad()
        optim_head.zero_grad()
        loss.backward()
        optim_body.step()
        optim_head.step()
    torch.save({"state_dict": net.state_dict(), "optimizer": optim_body.state_dict()}, folder / "checkpoint.pth.tar")
    return float(np.mean(losses))


def main():
    torch.manual_seed(31)
    net = Net("alexnet", True, SIDE, k)
    start = {n: t for n, t in load_file(given["weights"]).items() if not n.startswith("top_layer")}
    net.load_state_dict(start, strict=False)
    for module in net.modules():
        if isinstance(module, torch.nn.ReLU):
            module.inplace = True
    net.to(memory_format=torch.channels_last)
    stages, began = {}, time.perf_counter()

    def done(stage):
        nonlocal began
        now = time.perf_counter()
        stages[stage], began = round(now - began, 2), now

    with Timed() as spent:
        dataset = ImageFolder(given["images"], CENTRE)
        features = features_of(net, dataset)
        done("features")
        vectors = whitened(features)
        done("vectors")
        clusters, objective = clustered(vectors)
        done("clusters")
        labels = np.unique(clusters, return_inverse=True)[1]
        loss = trained(net, [path for path, _ in dataset.imgs], labels)
        with open(folder / "clusters", "wb") as file:
            pickle.dump([np.flatnonzero(clusters == cluster).tolist() for cluster in range(k)], file)
        done("training")
    report(spent, objective=float(objective), loss=loss, stages=stages)


if __name__ == "__main__":
    main()
