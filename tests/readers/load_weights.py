"""Load dcpipe's weights into a torch module, strictly, and compare features.

  python tests/readers/load_weights.py FILE.safetensors --arch alexnet --sobel --input 64 \
         [--crops crops/part-00000.arrow --features features/epoch=0001/part-00000.arrow]

VGG16's convolutions and batch norms are loaded into torchvision's network as well. Needs torch, torchvision, safetensors,
numpy, and for the comparison pyarrow. Exit code 1 when something differs. FEATURES must be what these weights gave: those of
the epoch after the one that trained them.
"""
import argparse
import pathlib
import sys

import numpy as np
import torch
import torchvision
from safetensors.torch import load_file

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "golden"))
from nets import Net, ResNet, normalise  # noqa: E402


def column(path, name):
    """A fixed-size-list column as a 2-d array, with its image ids; the file stays memory-mapped."""
    import pyarrow as pa

    table = pa.ipc.open_file(pa.memory_map(path)).read_all()
    values = table.column(name).combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks)
    ids = np.arange(len(table))
    return ids, values.flatten().to_numpy(zero_copy_only=False).reshape(len(ids), -1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--arch", choices=["alexnet", "vgg16", "resnet18", "resnet50"], required=True)
    parser.add_argument("--stem", choices=["imagenet", "cifar"], default="imagenet", help="of a ResNet")
    parser.add_argument("--sobel", action="store_true")
    parser.add_argument("--input", type=int, default=224)
    parser.add_argument("--k", type=int, help="outputs of the head; read from the file when absent")
    parser.add_argument("--crops")
    parser.add_argument("--features")
    parser.add_argument("--most", type=int, default=256, help="images to compare at most")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="largest difference relative to the largest feature")
    args = parser.parse_args()

    state = {name: tensor for name, tensor in load_file(args.file).items() if not name.startswith("momentum.")}
    k = args.k or (state["top_layer.bias"].shape[0] if "top_layer.bias" in state else 1)
    if args.arch.startswith("resnet"):
        net = ResNet(args.arch, args.sobel, args.input, k, args.stem)
    else:
        net = Net(args.arch, args.sobel, args.input, k)
    if "top_layer.bias" not in state:  # weights before the first epoch have no head yet
        state |= {name: tensor for name, tensor in net.state_dict().items() if name.startswith("top_layer.")}
    getattr(net, "trunk", net).load_state_dict(state, strict=True)
    net.eval()
    print(f"{args.file}: {len(state)} tensors, strict=True, k = {k}")
    if args.arch == "vgg16":
        theirs = torchvision.models.vgg16_bn().features
        if args.sobel:
            theirs[0] = torch.nn.Conv2d(2, 64, 3, padding=1)
        inner = {name.removeprefix("features."): tensor for name, tensor in state.items() if name.startswith("features.")}
        theirs.load_state_dict(inner, strict=True)
        print(f"{len(inner)} of them in torchvision's vgg16_bn, strict=True")
    if not (args.crops and args.features):
        return 0

    crop_ids, crops = column(args.crops, "pixels")
    feature_ids, features = column(args.features, "feature")
    ids, of_crop, of_feature = np.intersect1d(crop_ids, feature_ids, return_indices=True)
    ids, of_crop, of_feature = (x[: args.most] for x in (ids, of_crop, of_feature))
    if len(ids) == 0:
        print("no image is in both files")
        return 1
    apart = largest = 0.0
    for start in range(0, len(ids), 64):
        rows = slice(start, start + 64)
        pixels = crops[of_crop[rows]].reshape(-1, args.input, args.input, 3)
        with torch.no_grad():
            want = net.feature(normalise(pixels)).numpy()
        apart = max(apart, float(np.abs(want - features[of_feature[rows]].astype(np.float32)).max()))
        largest = max(largest, float(np.abs(want).max()))
    verdict = apart <= args.tolerance * largest
    print(f"{len(ids)} images: largest difference {apart:.3g} of {largest:.3g}, relative {apart / largest:.2g}: {'equal' if verdict else 'DIFFERENT'}")
    return 0 if verdict else 1


if __name__ == "__main__":
    sys.exit(main())
