"""questions: what each row of the table compares: the inputs, the two sides, the target, and what must agree."""
import dataclasses
import os
import pathlib
import shutil

import gates
import inputs
from copies import copies
from turns import Busy

CORES = len(os.sched_getaffinity(0))
VIEWS, EPOCH = 2048, 5000  # Images of rows 1 to 5, and of rows 11 to 14.


@dataclasses.dataclass
class Line:
    """A line of the table."""

    number: str
    what: str
    ours: str = ""
    theirs: str = ""
    ratio: str = ""
    target: str = ""
    verdict: str = ""
    agreed: str = ""


class Bench:
    """What every question needs: where files are, how to call a side, and how to write a line."""

    def __init__(self, work, turns, program, dcpipe, images, python, dali, small):
        self.work, self.turns, self.program, self.dcpipe = work, turns, program, dcpipe
        self.images, self.python, self.dali, self.small = images, python, dali, small
        self.photographs = None

    def size(self, whole, small):
        return small if self.small else whole

    def ours(self, question, **given):
        return [self.program, "one", question, *pairs(given)]

    def run(self, **given):
        script = pathlib.Path(__file__).with_name("ours.py")
        return [self.python, script, *pairs({"dcpipe": self.dcpipe, "folder": self.work} | given)]

    def peer(self, script, python=None, **given):
        return [python or self.python, pathlib.Path(__file__).parent / "peers" / f"{script}.py", *pairs(given)]

    def out(self, side):
        return self.work / "out" / side

    def folder_of(self, count):
        """A folder of so many photographs, their files in order, and what to say of them."""
        folder = self.work / f"photographs-{count}"
        if not folder.exists():
            files, of = copies(pathlib.Path(self.images), folder, count)
            self.photographs = of
            (self.work / f"{folder.name}.txt").write_text("\n".join(map(str, sorted_paths(folder, files))) + "\n")
        return folder, self.work / f"{folder.name}.txt"

    def line(self, number, what, sides, peer, target, gate):
        """A line of the table: the ratio counts only if both sides computed the same."""
        ours, theirs = next(iter(sides.values())), sides[peer]
        ratio = theirs.median() / ours.median()
        line = Line(number, what, seconds(ours.median(), ours.cpu), f"{peer}: {seconds(theirs.median(), theirs.cpu)}")
        line.what += f"; of {len(ours.repetitions)}"
        line.target = f"≥ {target:g}x"
        try:
            line.agreed = gate()
        except gates.Differs as differs:
            line.verdict = f"failed: {differs}"
            return line
        line.ratio = f"{ratio:.2f}x"
        line.verdict = "met" if ratio >= target else "missed"
        return line


def pairs(given):
    return [f"{key}={value}" for key, value in given.items()]


def seconds(wall, cpu):
    return f"{wall:.3g} s (CPU {cpu:.3g} s)"


def sorted_paths(folder, files):
    """In the order of dcpipe's table of images: by the bytes of the path."""
    return sorted(files, key=lambda path: str(path.relative_to(folder)).encode())


def views(bench):
    """Rows 1 and 2: the clustering view."""
    count = bench.size(VIEWS, 100)
    _, files = bench.folder_of(count)
    sides = {"dcpipe": bench.ours("crops", of="centre", images=files),
             "torchvision": bench.peer("crops_torchvision", of="centre", images=files)}
    if bench.dali:
        sides["DALI"] = bench.peer("crops_dali", bench.dali, of="centre", images=files)
    sides = bench.turns.all(sides)
    what = f"{count:,} JPEG photographs to the 224 clustering view, u8 in memory"
    same = lambda peer, most: gates.samples(bench.out("dcpipe") / "pixels.u8", bench.out(peer) / "pixels.u8", most)
    lines = [bench.line("1", what + f", {CORES} workers", sides, "torchvision", 2.5, lambda: same("torchvision", 0))]
    if bench.dali:
        lines.append(bench.line("2", what + f", {CORES} threads", sides, "DALI", 1.8, lambda: same("DALI", None)))
    else:
        lines.append(Line("2", what, verdict="empty: DALI is not installed", target="≥ 1.8x"))
    return lines


def scans(bench):
    """Row 3: a new folder, scanned and decoded."""
    count = bench.size(VIEWS, 100)
    folder, files = bench.folder_of(count)
    sides = bench.turns.all({"dcpipe": bench.run(of="crops", images=folder),
                             "torchvision": bench.peer("crops_torchvision", of="centre", images=files)})
    same = lambda: gates.samples(bench.out("dcpipe") / "pixels.u8", bench.out("torchvision") / "pixels.u8")
    what = f"scan and decode of a new folder of {count:,} photographs, as a run: written, hashed, durable"
    return [bench.line("3", what, sides, "torchvision", 2.2, same)]


def kept(bench):
    """Row 4: the clustering view of the second epoch."""
    count = bench.size(VIEWS, 100)
    _, files = bench.folder_of(count)
    crops = bench.work / "crops.arrow"
    bench.turns.prepare(bench.ours("crops", of="keep", images=files, kept=crops))
    sides = bench.turns.all({"dcpipe": bench.ours("crops", of="kept", kept=crops),
                             "torchvision": bench.peer("crops_torchvision", of="centre", images=files)})
    same = lambda: gates.samples(bench.out("dcpipe") / "pixels.u8", bench.out("torchvision") / "pixels.u8")
    return [bench.line("4", f"the clustering view of {count:,} photographs in the second epoch, from kept crops", sides,
                       "torchvision", 20, same)]


def crops(bench):
    """Row 5: random crops."""
    count = bench.size(VIEWS, 100)
    _, files = bench.folder_of(count)
    boxes = inputs.boxes(bench.work / "boxes.txt", files.read_text().splitlines())
    given = {"of": "boxes", "images": files, "boxes": boxes}
    sides = bench.turns.all({"dcpipe": bench.ours("crops", **given), "torchvision": bench.peer("crops_torchvision", **given)})
    same = lambda: gates.samples(bench.out("dcpipe") / "pixels.u8", bench.out("torchvision") / "pixels.u8")
    return [bench.line("5", f"RandomResizedCrop(224) and mirror of {count:,} photographs, the same boxes, {CORES} workers", sides,
                       "torchvision", 2, same)]


def rows(bench):
    """Row 6: features into files."""
    count, dims = bench.size(65_536, 4096), 4096
    features = inputs.written(bench.work / "features.f32", count, dims, inputs.falling)
    to = bench.work / "written"
    given = {"features": features, "dims": dims, "to": to}
    told = {}

    def clear():
        shutil.rmtree(to, ignore_errors=True)

    def check(name, repetition):
        told[name] = gates.written(repetition.check["files"], "feature", features) if name != "np.save" else ""

    sides = {"dcpipe": bench.ours("rows", **given), "np.save": bench.peer("rows", of="numpy", **given),
             "pyarrow IPC": bench.peer("rows", of="pyarrow", **given)}
    sides = bench.turns.all(sides, before=clear, after=check)
    clear()
    what = f"features of {count:,} x {dims} written and durable; dcpipe also hashes them; the peers with fsync"
    return [bench.line("6", what, sides, peer, target, lambda: told["dcpipe"])
            for peer, target in (("np.save", 1), ("pyarrow IPC", 1.3))]


def whiten(bench):
    """Row 7: PCA-whitening."""
    count, dims, dims_out = bench.size((20_000, 4096, 256), (2000, 512, 64))
    features = inputs.written(bench.work / "features.f32", count, dims, inputs.falling)
    given = {"features": features, "dims": dims, "dims_out": dims_out}
    bench.turns.prepare(bench.peer("truth", **given, out=bench.out("truth")))
    sides = bench.turns.all({"dcpipe": bench.ours("whiten", **given), "faiss-cpu": bench.peer("whiten_faiss", **given)})

    def near():
        told = gates.subspaces(bench.out("truth"), bench.out("dcpipe"), bench.out("faiss-cpu"), dims)
        return f"{told}; {gates.applied(features, bench.out('dcpipe'), dims, dims_out)}"

    what = f"PCA-whitening, fit and apply, {count:,} x {dims} to {dims_out}"
    return [bench.line("7", what, sides, "faiss-cpu", 15, near)]


def kmeans(bench):
    """Row 8: k-means."""
    count, dims, k = bench.size((100_000, 256, 4000), (20_000, 64, 200))
    vectors = inputs.written(bench.work / "vectors.f32", count, dims, inputs.directions)
    centroids = inputs.first_of(vectors, count, dims, k, bench.work / "centroids.f32")
    given = {"vectors": vectors, "centroids": centroids, "dims": dims, "iterations": 10}
    sides = bench.turns.all({"dcpipe": bench.ours("kmeans", **given), "faiss-cpu": bench.peer("kmeans_faiss", **given),
                             "scikit-learn": bench.peer("kmeans_sklearn", **given)})
    what = f"k-means, {count:,} x {dims}, k = {k:,}, 10 iterations and the last assignment, the same first centroids"
    same = lambda peer: gates.clusterings(vectors, bench.out("dcpipe"), bench.out(peer), dims)
    return [bench.line("8", what, sides, peer, target, lambda peer=peer: same(peer))
            for peer, target in (("faiss-cpu", 1.5), ("scikit-learn", 2))]


def network(bench, number, of, what, arch, side, images, batch, target):
    """A network and its images, by both sides."""
    k = 500
    weights = inputs.weights(bench.work / f"{arch}-{side}.safetensors", arch, side, k)
    pixels = inputs.pixels(bench.work / "pixels.u8", images, side)
    given = {"of": of, "arch": arch, "input": side, "weights": weights, "pixels": pixels, "batch": batch, "k": k}
    sides = bench.turns.all({"dcpipe": bench.ours("network", **given), "PyTorch": bench.peer("network_torch", **given)})
    if of == "features":
        same = lambda: gates.features(bench.out("dcpipe") / "features.f32", bench.out("PyTorch") / "features.f32")
    else:
        losses = [sides[name].first["losses"] for name in ("dcpipe", "PyTorch")]
        fallen = [[first - last] for first, _, last in losses]

        def same():
            told = gates.numbers("losses of three steps without dropout", *losses, 1e-3)
            return f"{told}; {gates.numbers('what they fell by', *fallen, 5e-2)}"
    return bench.line(number, f"{what}, {images} images, batch {batch}, eager with channels-last", sides, "PyTorch", target, same)


def features(bench):
    """Row 9: features from crops."""
    batch = bench.size(256, 16)
    return [network(bench, "9", "features", "AlexNet features at 224", "alexnet", 224, bench.size(1024, 32), batch, 1.5),
            network(bench, "9", "features", "VGG16 features at 224", "vgg16", 224, bench.size(256, 16), batch, 1.15)]


def steps(bench):
    """Row 10: steps of training."""
    batch = bench.size(256, 32)
    return [network(bench, "10", "steps", "AlexNet SGD steps at 224", "alexnet", 224, bench.size(768, 32), batch, 1.25),
            network(bench, "10", "steps", "AlexNet SGD steps at 64", "alexnet", 64, bench.size(2048, 64), batch, 1.6)]


def epoch(bench):
    """Rows 11 to 14: a whole epoch, another k, nothing to do, and memory."""
    count, dims, k = bench.size((EPOCH, 256, 500), (100, 32, 20))
    folder, _ = bench.folder_of(count)
    weights = inputs.weights(bench.work / "first.safetensors", "alexnet", 224, k)
    given = {"images": folder, "weights": weights, "k": k, "dims": dims}
    sides = bench.turns.all({"dcpipe": bench.run(of="epoch", **given),
                             "port": bench.peer("epoch", folder=bench.work, **given)})
    ours, theirs = sides["dcpipe"], sides["port"]
    loose = 0.2 if bench.small else 0.02  # Each side draws first centroids and crops of its own.

    def same():
        pair = lambda name: ([ours.first[name]], [theirs.first[name]])
        told = gates.numbers("k-means objective", *pair("objective"), loose)
        return f"{told}; {gates.numbers('mean loss', *pair('loss'), 5 * loose)}"

    what = f"one epoch, {count:,} photographs, AlexNet at 224, 4096-d to {dims}, k = {k}"
    whole = bench.line("11", f"{what}; the port with channels-last, {CORES} workers", sides, "port", 1.7, same)
    if whole.verdict.startswith("failed"):
        return [whole]
    lines = [whole]
    cluster = lambda repetition: sum(repetition.check["stages"][name] for name in ("features", "vectors", "clusters"))
    for title, name, peer, told in (
        ("the same after another k, training included", "changed", theirs.median(), f"port, all of it: {theirs.median():.3g} s"),
        ("the same after another k, as far as the clusters", "clusters", theirs.median(cluster),
         f"port, as far: {theirs.median(cluster):.3g} s"),
    ):
        wall, cpu = (ours.median(lambda r, at=at: r.check[name][at]) for at in (0, 1))
        ratio = peer / wall
        lines.append(Line("12", title, seconds(wall, cpu), told, f"{ratio:.2f}x", "≥ 15x", "met" if ratio >= 15 else "missed"))
    idle = ours.median(lambda r: r.check["idle"])
    lines.append(Line("13", "that run again, with nothing to do", f"{idle:.3f} s", "", "", "≤ 0.1 s",
                      "met" if idle <= 0.1 else "missed"))
    our_peak, peak = (side.median(lambda r: r.peak_mib) for side in (ours, theirs))
    lines.append(Line("14", "peak of anonymous memory of row 11, all processes", f"{our_peak:,.0f} MiB", f"port: {peak:,.0f} MiB",
                      f"{our_peak / peak:.2f}x", "≤ 0.5x", "met" if our_peak <= peak / 2 else "missed"))
    return lines


def idle(bench):
    """Row 13: a long plan with nothing to do."""
    epochs = bench.size(500, 20)
    side = bench.turns.all({"dcpipe": bench.ours("noop", epochs=epochs, dcpipe=bench.dcpipe)})["dcpipe"]
    wall = side.median()
    return [Line("13", f"a run of {epochs} epochs with nothing to do, its store in memory", seconds(wall, side.cpu), "", "", "≤ 0.1 s",
                 "met" if wall <= 0.1 else "missed")]


# Each question, the rows that it answers, and whether it needs photographs.
QUESTIONS = [(views, (1, 2), True), (scans, (3,), True), (kept, (4,), True), (crops, (5,), True), (rows, (6,), False),
             (whiten, (7,), False), (kmeans, (8,), False), (features, (9,), False), (steps, (10,), False),
             (epoch, (11, 12, 13, 14), True), (idle, (13,), False)]


def lines_of(bench, question, numbers, needs_images, chosen):
    """The chosen lines of a question; one that could not be measured says why."""
    first = ", ".join(str(number) for number in numbers if number in chosen)
    what = question.__doc__.split(": ")[1].rstrip(".")
    if needs_images and not bench.images:
        return [Line(first, what, verdict="empty: make bench IMAGES=DIR")]
    try:
        return [line for line in question(bench) if int(line.number) in chosen]
    except Busy as busy:
        return [Line(first, what, verdict=f"not measured: {busy}")]
    except Exception as error:  # A row that fails must not cost the others.
        print(error, flush=True)
        return [Line(first, what, verdict="failed: see what make bench printed")]
