"""torch_files: files that torch.save writes, for the tests of scripts/import-weights and scripts/export-weights.

    python tests/readers/torch_files.py make published|torchvision|code|plain_code FILE.pth
    python tests/readers/torch_files.py compare A.pth B.pth

`published` is an AlexNet for 64 pixels as DeepCluster's files are, with an optimizer; `torchvision` a ResNet-18. The files
with code make a file `it-ran` when that code runs. Exit code 1 when tensors differ. Needs torch and torchvision.
"""
import pathlib
import pickle
import sys

HEADS = ("top_layer.", "fc.")


class Code:
    """What is read back as the result of a call."""

    def __reduce__(self):
        return open, ("it-ran", "w")


def drawn(net):
    """Its tensors, the statistics of batch norm drawn as well."""
    for name, tensor in net.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_()
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif name.endswith("num_batches_tracked"):
            tensor.fill_(7)
    return net.state_dict()


def make(kind, path):
    if kind == "plain_code":
        path.write_bytes(pickle.dumps({"state_dict": Code()}))
        return
    # Each kind imports no more than it needs: on a busy machine torch alone takes a minute to start.
    import torch

    torch.manual_seed(31)
    if kind == "code":
        torch.save({"state_dict": Code()}, path)
    elif kind == "torchvision":
        import torchvision

        torch.save(drawn(torchvision.models.resnet18(num_classes=7)), path)
    else:
        sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "golden"))
        from nets import Net

        net = Net("alexnet", True, 64, 7)
        optimizer = torch.optim.SGD([net.top_layer.weight], lr=0.05, momentum=0.9)
        # Several GPUs leave `module.` in the names.
        state = {name.replace("features.", "features.module."): tensor for name, tensor in drawn(net).items()}
        torch.save({"epoch": 5, "arch": "alexnet", "state_dict": state, "optimizer": optimizer.state_dict()}, path)


def tensors(path):
    import torch

    loaded = torch.load(path, weights_only=True)
    return loaded.get("state_dict", loaded)


def compare(first, second):
    first, second = tensors(first), tensors(second)
    heads = sorted(name for name in first if name.startswith(HEADS))
    due = {name: tensor for name, tensor in first.items() if name not in heads}
    if due.keys() != second.keys():
        sys.exit(f"other names: {sorted(due.keys() ^ second.keys())}")
    apart = [name for name, tensor in due.items() if tensor.dtype != second[name].dtype or not tensor.equal(second[name])]
    if apart:
        sys.exit(f"other numbers: {apart}")
    print(f"{len(due)} tensors are equal; left out: {', '.join(heads)}")


if __name__ == "__main__":
    command, first, second = sys.argv[1:]
    if command == "make":
        make(first, pathlib.Path(second))
    else:
        compare(first, second)
