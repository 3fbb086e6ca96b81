"""damage: families 10, 11, 18, 27 and 28: what lies in the store, or in the results, is not what was put there."""

import os
import shutil
import signal

import oracle
from oracle import DAMAGED, DONE
from space import own

# Who reads what a node of tiny.yaml makes, in its first epoch.
READERS = {
    "dataset@0": ["crops@0", "weights@1", "metrics@1"], "crops@0": ["features@1"], "weights@0": ["features@1", "weights@1"],
    "features@1": ["vectors@1"], "vectors@1": ["clusters@1"], "clusters@1": ["manifest@1", "metrics@1"],
    "manifest@1": ["weights@1"], "weights@1": [], "metrics@1": [],
}


def ran(ended):
    """What ran, but for the first weights: those are evicted, and made again for whoever needs them."""
    return [node for node in ended.ran() if node != "weights@0"]


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


def mode(bits):
    def change(path):
        own(path)
        os.chmod(path, bits)
    return change


# Harm -> what does it; whether the size or kind of the file shows it; whether its bytes are wrong at all.
HARMS = {
    "one byte short": (lambda path: replace(path, path.read_bytes()[:-1]), True, True),
    "empty": (lambda path: replace(path, b""), True, True),
    "one byte long": (lambda path: replace(path, path.read_bytes() + b"x"), True, True),
    "a link": (link, True, True),
    "a folder": (folder, True, True),
    "a pipe": (fifo, True, True),
    "one bit flipped": (flip, False, True),
    "of another mode": (mode(0o666), False, False),
    "gone": (os.remove, False, False),
}


def family_10(bench):
    """Every kind of object and record, harmed in every way."""
    for harm, (inflict, shows, wrong_bytes) in HARMS.items():
        objects(bench, harm, inflict, shows, wrong_bytes)
    swapped(bench)
    for harm, (inflict, _, _) in HARMS.items():
        records(bench, harm, inflict)


def objects(bench, harm, inflict, shows, wrong_bytes):
    happens = {
        (True, True): "unnoticed while nobody needs it; then named, moved to quarantine, made again",
        (False, True): "unnoticed by a plain run, which looks at sizes; verify, and run --verify full, name it and move it to "
                       "quarantine; then made again",
        (False, False): "nothing, or made again when needed: neither is damage",
    }[(shows, wrong_bytes)]
    group = bench.group(10, f"an object that is {harm}", happens)
    base = bench.finished()
    seen = set()
    for node in READERS:
        for part in base.record_of(node)[1]["artifact"]["parts"]:
            # What was evicted is not there to be harmed.
            if part["object"] in seen or (bench.quick and len(seen) > 3) or not base.object_of(part).exists():
                continue
            seen.add(part["object"])
            case = f"{node} {part['name']}"
            # Nobody needs it: the run has nothing to do.
            space = base.copy(bench.scratch / "harmed")
            inflict(space.object_of(part))
            idle = space.run(patience=bench.reference.patience)
            wrong = oracle.manner(idle, {DONE})
            if ran(idle) not in ([], [node]):
                wrong.append(f"an idle run ran {idle.ran()}")
            wrong += bench.after(space, damaged=[part["object"]] if wrong_bytes and bench.verify and not idle.ran() and space.object_of(part).exists() else (), may_run=[node])
            space.remove()
            # The next needs it. What the size does not show is found by those who look at the bytes.
            if READERS[node]:
                space = base.copy(bench.scratch / "needed")
                for reader in READERS[node]:
                    space.forget(reader)
                inflict(space.object_of(part))
                closely = ["--verify", "full"] if wrong_bytes and not shows else []
                needs = space.run("run", *closely, patience=bench.reference.patience)
                wrong += oracle.manner(needs, {DONE})
                if needs.digests() != bench.reference.digests:
                    wrong.append("other bytes than undisturbed")
                if wrong_bytes and not any("quarantine" in note["text"] for note in needs.of("note")):
                    wrong.append(f"no word of quarantine: {[note['text'] for note in needs.of('note')]}")
                wrong += bench.after(space, may_run=[node])
                space.remove()
            group.case(case, wrong)
    base.remove()


def swapped(bench):
    group = bench.group(10, "two objects, or two records, that stand in each other's place", "as an object of another size; a record under another name is not believed")
    base = bench.finished()
    pairs = [("vectors@1", "features@1"), ("clusters@1", "manifest@1"), ("crops@0", "weights@1"), ("dataset@0", "metrics@1")]
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
            wrong += bench.after(space, may_run=[one, other], damaged=[path.name for path in paths] if what == "objects" and bench.verify and not ended.ran() else ())
            group.case(f"{what} of {one} and {other}", wrong)
            space.remove()
    base.remove()


def records(bench, harm, inflict):
    happens = "its node runs again" if harm == "gone" else "nothing" if harm == "of another mode" else "named, moved to quarantine, its node runs again"
    group = bench.group(10, f"a record that is {harm}", happens)
    base = bench.finished()
    for node in READERS:
        path = base.record_of(node)[0]
        places = [None] if harm != "one bit flipped" or bench.quick else range(0, path.stat().st_size, 1 if bench.every else 97)
        for place in places:
            space = base.copy(bench.scratch / "record")
            path = space.record_of(node)[0]
            if place is None:
                inflict(path)
            else:
                flip(path, place)
            verified = []
            if bench.verify and harm not in ("gone", "of another mode") and place in (None, 0):
                other = base.copy(bench.scratch / "record-verified")
                (inflict if place is None else lambda path: flip(path, place))(other.record_of(node)[0])
                verified = oracle.verified(other, [path.name])
                other.remove()
            ended = space.run(patience=bench.reference.patience)
            wrong = verified + oracle.manner(ended, {DONE})
            expected = [] if harm == "of another mode" or node == "weights@0" else [node]
            if ran(ended) != expected:
                wrong.append(f"ran {ended.ran()}")
            if harm not in ("gone", "of another mode") and not any("damaged" in note["text"] for note in ended.of("note")):
                wrong.append(f"no word of the damage: {[note['text'] for note in ended.of('note')]}")
            group.case(f"{node}{'' if place is None else f' byte {place}'}", wrong + bench.after(space, may_run=[node]))
            space.remove()
        if bench.quick and node == "crops@0":
            break
    base.remove()


def family_11(bench):
    """Files cut within their foot."""
    group = bench.group(11, "an Arrow, Parquet or safetensors object cut at steps of 64 bytes in its last KiB", "show says that it is not there; the next run that needs it makes it again")
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
            wrong = [f"show: {what}" for what in oracle.manner(shown, {DONE, DAMAGED})]
            group.case(f"{node} {part['name']} cut to {length} of {size}", wrong + bench.after(space, may_run=[node]))
            space.remove()
    base.remove()
    cut_while_mapped(bench)


def cut_while_mapped(bench):
    group = bench.group(11, "an object that is cut while a run has it mapped", "the run ends with a line that says so; the next makes it again")
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
        wrong += oracle.manner(ended, None)
        if ended.code and "dcpipe: " not in ended.err:
            wrong.append(f"ended with {ended.code} and without a word")
        group.case(f"{node} under {reader}, which ended with {ended.code}", wrong + bench.after(space, may_run=[node], damaged=[part["object"]]))
        space.remove()


def tree(folder_):
    return {path.relative_to(folder_): path.read_bytes() if path.is_file() else None for path in sorted(folder_.rglob("*"))}


def family_18(bench):
    """A store of another format."""
    group = bench.group(18, "a FORMAT of the future, or of something else", "refused by name with 5, and left alone")
    for text in ("dcpipe-store 2 blake3\n", "dcpipe-store 1 sha256\n", "dcpipe-store 1 blake3 zstd\n", "\0\0\0\0", "x" * 5000):
        space = bench.finished()
        (space.store / "FORMAT").write_text(text)
        before = tree(space.store)
        wrong = []
        for command, more in (("run", []), ("plan", []), ("ls", []), ("show", ["clusters@1"]), ("why", ["clusters@1"])):
            ended = space.run(command, *more)
            wrong += [f"{command}: {what}" for what in oracle.manner(ended, {DAMAGED}, ["is not a store that this dcpipe knows"])]
        if tree(space.store) != before:
            wrong.append("something in it changed")
        (space.store / "FORMAT").write_text("dcpipe-store 1 blake3\n")
        group.case(repr(text[:30]), wrong + bench.after(space))
        space.remove()
    group = bench.group(18, "FORMAT is empty or gone", "a store that was never finished: it is one again, and what is in it holds")
    for name in ("empty", "gone"):
        space = bench.finished()
        (space.store / "FORMAT").unlink()
        if name == "empty":
            (space.store / "FORMAT").touch()
        group.case(name, bench.after(space))
        space.remove()


def family_27(bench):
    """Files of others in the store."""
    group = bench.group(27, "unknown files and folders in the store", "ignored; nothing of them is touched outside tmp/ and locks/")
    strangers = ["objects/README", "objects/ab/.nfs000000001", "objects/zz/x", "records/.DS_Store", "records/ab/notes~", "runs/.swp",
                 "runs/tiny/x.bak", "stat/old.json", "stat/x.4711.tmp", "quarantine/x.0", "NOTES.txt", "objects/ab/deep/er/file", "locks/x", "tmp/x"]
    for name in strangers:
        space = bench.finished()
        path = space.store / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a stranger")
        ended = space.run(patience=bench.reference.patience)
        wrong = oracle.manner(ended, {DONE})
        if ended.ran():
            wrong.append(f"ran {ended.ran()}")
        if not name.startswith(("tmp/", "locks/")) and path.read_text() != "a stranger":
            wrong.append("it was touched")
        group.case(name, wrong + bench.after(space))
        space.remove()


def family_28(bench):
    """History that is torn, gone or not ours."""
    group = bench.group(28, "events.jsonl, .index.json, nodes.json, last.json, pipeline.yaml torn, gone, interleaved or a folder", "everything but history works; results are laid out again where nothing vouches for them")

    def torn(path):
        bytes_ = path.read_bytes()
        path.write_bytes(bytes_[:len(bytes_) * 2 // 3])

    def interleaved(path):
        bytes_ = path.read_bytes()
        path.write_bytes(bytes_[:50] + b"\xff\x00{\"type\":" + bytes_ + bytes_[30:])

    def as_folder(path):
        path.unlink()
        (path / "x").mkdir(parents=True)

    for name in ("events.jsonl", ".index.json", "nodes.json", "last.json", "pipeline.yaml"):
        for harm in (torn, interleaved, os.remove, as_folder, lambda path: path.write_text("")):
            word = {os.remove: "gone"}.get(harm, harm.__name__.replace("<lambda>", "empty").replace("_", " "))
            space = bench.finished()
            folder_ = {"nodes.json": space.store / "runs/tiny", "last.json": space.store / "runs", "pipeline.yaml": space.store / "runs/tiny"}.get(name, space.results)
            harm(folder_ / name)
            wrong = []
            for command, more in (("plan", []), ("ls", []), ("why", ["clusters@1", "tiny.yaml", "--set", "epochs=1"]), ("show", ["clusters@1", "tiny.yaml", "--set", "epochs=1"])):
                ended = space.run(command, *more)
                wrong += [f"{command}: {what}" for what in oracle.manner(ended, {DONE})]
            ended = space.run(patience=bench.reference.patience)
            codes = {DONE} if harm is not as_folder else {DONE, 1}
            wrong += oracle.manner(ended, codes)
            if ended.code == 0 and ended.ran():
                wrong.append(f"ran {ended.ran()}")
            # Who removes what a run was after lets go of it.
            if bench.gc and harm is not as_folder and (name, harm) != ("nodes.json", os.remove):
                spare = bench.finished()
                source = folder_ / name
                harm(spare.folder / source.relative_to(space.folder))
                cleared = spare.run("gc")
                wrong += [f"gc: {what}" for what in oracle.manner(cleared, {DONE, 1, DAMAGED})]
                rest = spare.run(patience=bench.reference.patience)
                if rest.code == 0 and rest.ran():
                    wrong.append(f"gc took what was in use: {rest.ran()} ran again")
                spare.remove()
            if harm is as_folder:
                shutil.rmtree(folder_ / name, ignore_errors=True)
            group.case(f"{name} {word}", wrong + bench.after(space))
            space.remove()
