"""damage: families 10 and 11: an object or a record is not what was put there."""

import os
import re
import signal

import oracle
from oracle import DAMAGED, DONE
from space import own

# Who reads what a node of tiny.yaml makes, in its first epoch.
READERS = {
    "dataset@0": ["crops@0", "weights@1", "metrics@1"], "crops@0": ["features@1"],
    "weights@0": ["features@1", "weights@1"], "features@1": ["vectors@1"], "vectors@1": ["clusters@1"],
    "clusters@1": ["manifest@1", "metrics@1"], "manifest@1": ["weights@1"], "weights@1": [], "metrics@1": [],
}


def ran(ended):
    """What ran, but for the first weights: those are evicted, and rebuilt for the node that needs them."""
    return [node for node in ended.ran() if node != "weights@0"]


def notes(ended):
    """What was said of objects and records; stages say other things when they run again."""
    texts = [event["text"] for event in ended.of("note")]
    return [text for text in texts if text.startswith(("object ", "record "))]


class Told:
    """What was said of one harm to all files of a kind, for the table."""

    def __init__(self, what, harm):
        self.what, self.harm, self.kinds, self.run, self.verify, self.next = what, harm, 0, set(), set(), set()

    def line(self):
        columns = ["; ".join(sorted(said)) or "nothing" for said in (self.run, self.verify, self.next)]
        return f"| {self.what} | {self.harm} | {self.kinds} | " + " | ".join(columns) + " |"


def plain(text):
    """Without digests, numbers and places, so that what is said of many files is said once."""
    text = re.sub(r"[0-9a-f]{64}(\.\d+)?", "…", text)
    text = text.removesuffix("; moved to .dcpipe/quarantine/… and rebuilt when it is needed")
    return re.sub(r"\b\d+\b", "N", text).strip()


def verify_says(space, path):
    said = space.run("verify").out.splitlines()
    return {plain(line) for line in said if path.name in line and ".aside" not in line}


def replace(path, bytes_):
    os.remove(path)
    path.write_bytes(bytes_)
    os.chmod(path, 0o444)


def flip(path, at=None):
    bytes_ = bytearray(path.read_bytes())
    at = len(bytes_) // 2 if at is None else at
    bytes_[at] ^= 1 << at % 8
    replace(path, bytes_)


def link(path):
    aside = path.with_name(path.name + ".aside")
    path.rename(aside)
    path.symlink_to(aside)


def folder(path):
    os.remove(path)
    path.mkdir()
    (path / "inside").write_text("x")


def fifo(path):
    os.remove(path)
    os.mkfifo(path)


def other_mode(path):
    own(path)
    os.chmod(path, 0o666)


class Harm:
    """What is done to a file, whether its size or kind shows it, and whether its bytes are wrong."""

    def __init__(self, inflict, shows, wrong, happens):
        self.inflict, self.shows, self.wrong, self.happens = inflict, shows, wrong, happens


SEEN = "named by the next run and moved to quarantine; rebuilt if it is retained, or when a node needs it"
HARMS = {
    "one byte short": Harm(lambda path: replace(path, path.read_bytes()[:-1]), True, True, SEEN),
    "empty": Harm(lambda path: replace(path, b""), True, True, SEEN),
    "one byte long": Harm(lambda path: replace(path, path.read_bytes() + b"x"), True, True, SEEN),
    "a link": Harm(link, True, True, SEEN),
    "a folder": Harm(folder, True, True, SEEN),
    "a pipe": Harm(fifo, True, True, SEEN),
    "one bit flipped": Harm(flip, False, True, "a plain run looks at sizes only. verify and run --verify full name it "
                                               "and move it to quarantine; then a run rebuilds it"),
    "of another mode": Harm(other_mode, False, False, "nothing"),
    "missing": Harm(os.remove, False, False, "no damage: a run rebuilds it when a node needs it"),
}


def family_10(bench):
    """Every kind of object and record, harmed in every way."""
    for name, harm in HARMS.items():
        objects(bench, name, harm)
    swapped(bench)
    for name, harm in HARMS.items():
        records(bench, name, harm)


def objects(bench, name, harm):
    group = bench.group(10, f"an object that is {name}", harm.happens)
    base = bench.finished()
    seen = set()
    told = bench.told("object", name)
    for node in READERS:
        for part in base.record_of(node)[1]["artifact"]["parts"]:
            # What was evicted is not there to be harmed.
            if part["object"] in seen or not base.object_of(part).exists() or (bench.quick and len(seen) > 3):
                continue
            seen.add(part["object"])
            told.kinds += 1
            wrong = unneeded(bench, base, node, part, harm, told)
            if READERS[node]:
                wrong += needed(bench, base, node, part, harm, told)
            group.case(f"{node} {part['name']}", wrong)
    base.remove()


def unneeded(bench, base, node, part, harm, told):
    """A run that does not need the object; then verify, and another."""
    space = base.copy(bench.scratch / "unneeded")
    harm.inflict(space.object_of(part))
    told.verify |= verify_says(space, space.object_of(part))
    space.remove()
    space = base.copy(bench.scratch / "unneeded")
    harm.inflict(space.object_of(part))
    idle = space.run(patience=bench.reference.patience)
    told.run |= {plain(note) for note in notes(idle)}
    wrong = oracle.manner(idle, {DONE})
    # What the pipeline asks to keep is needed always.
    if ran(idle) not in ([], [node]):
        wrong.append(f"an idle run ran {idle.ran()}")
    left = harm.wrong and not idle.ran() and os.path.lexists(space.object_of(part))
    wrong += bench.after(space, damaged=[part["object"]] if left and bench.verify else (), may_run=[node])
    space.remove()
    return wrong


def needed(bench, base, node, part, harm, told):
    """A run whose nodes read the object. What its size does not show is found by those who look at the bytes."""
    space = base.copy(bench.scratch / "needed")
    for reader in READERS[node]:
        space.forget(reader)
    harm.inflict(space.object_of(part))
    closely = ["--verify", "full"] if harm.wrong and not harm.shows else []
    needs = space.run("run", *closely, patience=bench.reference.patience)
    told.next.add("rebuilds it" if node in needs.ran() else "reads it")
    wrong = oracle.manner(needs, {DONE})
    if needs.digests() != bench.reference.digests:
        wrong.append("other bytes than undisturbed")
    if harm.wrong and not any("quarantine" in note for note in notes(needs)):
        wrong.append(f"no word of quarantine: {notes(needs)}")
    wrong += bench.after(space, may_run=[node])
    space.remove()
    return wrong


def swapped(bench):
    group = bench.group(10, "two objects, or two records, in each other's place",
                        "an object counts as one of another size; a record under another name counts as damaged")
    base = bench.finished()
    pairs = [("vectors@1", "features@1"), ("clusters@1", "manifest@1"), ("crops@0", "weights@1"),
             ("dataset@0", "metrics@1")]
    for one, other in pairs:
        for what in ("objects", "records"):
            space = base.copy(bench.scratch / "swapped")
            paths = []
            for node in (one, other):
                path, record = space.record_of(node)
                paths.append(path if what == "records" else space.object_of(record["artifact"]["parts"][0]))
            bytes_ = [path.read_bytes() for path in paths]
            for path, new in zip(paths, reversed(bytes_)):
                replace(path, new)
            ended = space.run(patience=bench.reference.patience)
            wrong = oracle.manner(ended, {DONE})
            if what == "records" and sorted(ran(ended)) != sorted((one, other)):
                wrong.append(f"ran {ended.ran()}")
            left = [path.name for path, was in zip(paths, bytes_) if path.exists() and path.read_bytes() != was]
            damaged = left if what == "objects" and not ended.ran() and bench.verify else ()
            wrong += bench.after(space, may_run=[one, other], damaged=damaged)
            group.case(f"{what} of {one} and {other}", wrong)
            space.remove()
    base.remove()


def records(bench, name, harm):
    unharmed = name in ("missing", "of another mode")
    happens = harm.happens if unharmed else "named, moved to quarantine, its node runs again"
    group = bench.group(10, f"a record that is {name}", happens)
    base = bench.finished()
    told = bench.told("record", name)
    for node in READERS:
        size = base.record_of(node)[0].stat().st_size
        # A bit in every byte is tried by the store's own tests.
        places = range(0, size, 97) if harm.inflict is flip and not bench.quick else [None]
        for place in places:
            inflict = harm.inflict if place is None else lambda path, place=place: flip(path, place)
            space = base.copy(bench.scratch / "record")
            path = space.record_of(node)[0]
            inflict(path)
            ended = space.run(patience=bench.reference.patience)
            told.kinds += place in (None, 0)
            told.run |= {plain(note) for note in notes(ended)}
            told.next.add("runs its node" if ran(ended) else "hits")
            wrong = oracle.manner(ended, {DONE})
            if ran(ended) != ([] if name == "of another mode" or node == "weights@0" else [node]):
                wrong.append(f"ran {ended.ran()}")
            if not unharmed and not any("damaged" in note for note in notes(ended)):
                wrong.append(f"no word of the damage: {notes(ended)}")
            wrong += bench.after(space, may_run=[node])
            space.remove()
            if not unharmed and bench.verify and place in (None, 0):
                space = base.copy(bench.scratch / "record")
                inflict(space.record_of(node)[0])
                wrong += bench.after(space, may_run=[node], damaged=[path.name])
                space.remove()
                space = base.copy(bench.scratch / "record")
                inflict(space.record_of(node)[0])
                told.verify |= verify_says(space, path)
                space.remove()
            group.case(f"{node}{'' if place is None else f' byte {place}'}", wrong)
        if bench.quick and node == "crops@0":
            break
    base.remove()


def family_11(bench):
    """Files cut within their foot, and under the hands of who reads them."""
    group = bench.group(11, "an Arrow, Parquet or safetensors object cut at steps of 64 bytes in its last KiB",
                        "show reports the damage and moves nothing; the next run rebuilds it")
    base = bench.finished()
    for node, reader in (("vectors@1", "clusters@1"), ("clusters@1", "manifest@1"), ("weights@1", None)):
        part = base.record_of(node)[1]["artifact"]["parts"][0]
        size = part["bytes"]
        for length in range(max(0, size - 1024) // 64 * 64, size, 512 if bench.quick else 64):
            space = base.copy(bench.scratch / "cut")
            path = space.object_of(part)
            replace(path, path.read_bytes()[:length])
            if reader:
                space.forget(reader)
            shown = space.run("show", node)
            wrong = [f"show: {what}" for what in oracle.manner(shown, {DONE})]
            if "damaged" not in shown.out or not path.exists():
                wrong.append(f"show said {shown.out}")
            wrong += bench.after(space, may_run=[node], damaged=[part["object"]] if bench.verify else ())
            group.case(f"{node} {part['name']} cut to {length} of {size}", wrong)
            space.remove()
    base.remove()
    cut_while_mapped(bench)


def cut_while_mapped(bench):
    group = bench.group(11, "an object that is cut while a run has it mapped",
                        "the run rebuilds it, or ends with 5 and a line that says so. Then the next run rebuilds it")
    for node, reader in (("crops@0", "features@1"), ("features@1", "vectors@1")):
        space = bench.finished()
        part = space.record_of(node)[1]["artifact"]["parts"][0]
        own(space.object_of(part))
        space.forget(reader)
        run = space.start()
        met = run.until(rf'"node_started","node":"{reader}"')
        run.signal(signal.SIGSTOP)
        os.truncate(space.object_of(part), 4096)
        run.signal(signal.SIGCONT)
        ended = run.wait(bench.reference.patience)
        wrong = [] if met else [f"{reader} was not seen to start"]
        # It may have read what it needs before.
        wrong += oracle.manner(ended, {DAMAGED, DONE})
        # A worker that opens it after the cut has it rebuilt.
        path = space.object_of(part)
        left = bench.verify and path.exists() and os.path.getsize(path) == 4096
        wrong += bench.after(space, may_run=[node], damaged=[part["object"]] if left else ())
        group.case(f"{node} under {reader}", wrong)
        group.tell(f"{reader} ended with {ended.code}")
        space.remove()
