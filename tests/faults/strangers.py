"""strangers: families 18, 27 and 28: another format, files of others, journals that are torn."""

import shutil

import oracle
from oracle import DAMAGED, DONE, FAILED

FORMAT = "dcpipe-store 1 blake3\n"


def tree(folder):
    return {path.relative_to(folder): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def family_18(bench):
    """A store of another format."""
    group = bench.group(18, "a FORMAT of the future, or of something else", "refused by name with 5, and not touched")
    commands = (("run", []), ("plan", []), ("ls", []), ("show", ["clusters@1"]), ("why", ["clusters@1"]))
    commands += (("verify", []), ("gc", [])) if bench.verify and bench.gc else ()
    others = ("dcpipe-store 2 blake3\n", "dcpipe-store 1 sha256\n", FORMAT.strip() + " zstd\n", "\0\0\0\0", "x" * 5000)
    for text in others:
        space = bench.finished()
        (space.store / "FORMAT").write_text(text)
        before = tree(space.store)
        wrong = []
        for command, more in commands:
            ended = space.run(command, *more)
            said = oracle.manner(ended, {DAMAGED}, ["is not a store that this dcpipe knows"])
            wrong += [f"{command}: {what}" for what in said]
        if tree(space.store) != before:
            wrong.append("something in it changed")
        (space.store / "FORMAT").write_text(FORMAT)
        group.case(repr(text[:30]), wrong + bench.after(space))
        space.remove()
    group = bench.group(18, "FORMAT is empty or missing",
                        "the run writes FORMAT again, and uses what the store holds")
    for name in ("empty", "missing"):
        space = bench.finished()
        (space.store / "FORMAT").unlink()
        if name == "empty":
            (space.store / "FORMAT").touch()
        group.case(name, bench.after(space))
        space.remove()


STRANGERS = [
    "objects/README", "objects/ab/.nfs000000001", "objects/zz/x", "objects/ab/deep/er/file", "records/.DS_Store",
    "records/ab/notes~", "runs/.swp", "runs/tiny/x.bak", "stat/old.json", "stat/x.4711.tmp", "quarantine/x.0",
    "NOTES.txt", "locks/x", "tmp/x",
]


def family_27(bench):
    """Files of others in the store."""
    group = bench.group(27, "unknown files and folders in the store",
                        "ignored, named by verify, and never touched outside tmp/, locks/ and stat/*.tmp, not by gc either")
    for name in STRANGERS:
        space = bench.finished()
        path = space.store / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a stranger")
        ended = space.run(patience=bench.reference.patience)
        wrong = oracle.manner(ended, {DONE})
        if ended.ran():
            wrong.append(f"ran {ended.ran()}")
        if bench.verify and name.startswith(("objects/", "records/")):
            said = space.run("verify")
            # Of a folder that should not be there the folder is named.
            if not any(part in said.out for part in (name, name.rsplit("/", 1)[0], "objects/ab/deep")):
                wrong.append(f"verify does not name it: {said.out}")
        if bench.gc:
            wrong += [f"gc: {what}" for what in oracle.manner(space.run("gc"), {DONE})]
        if not name.startswith(("tmp/", "locks/")) and not name.endswith(".tmp") and path.read_text() != "a stranger":
            wrong.append("it was touched")
        group.case(name, wrong + bench.after(space))
        space.remove()


def torn(path):
    bytes_ = path.read_bytes()
    path.write_bytes(bytes_[:len(bytes_) * 2 // 3])


def interleaved(path):
    bytes_ = path.read_bytes()
    path.write_bytes(bytes_[:50] + b'\xff\x00{"type":' + bytes_ + bytes_[30:])


def empty(path):
    path.write_text("")


def as_folder(path):
    path.unlink()
    (path / "x").mkdir(parents=True)


def missing(path):
    path.unlink()


def family_28(bench):
    """Journals, lists and references that are torn, missing or not ours."""
    group = bench.group(28, "the journal, the results' list, what a run references: torn, missing, mixed, a folder",
                        "everything but log works. A run exports results again that no list names. gc deletes "
                        "nothing that an unreadable file may name")
    for name in ("events.jsonl", ".index.json", "nodes.json", "last.json", "pipeline.yaml"):
        for harm in (torn, interleaved, empty, missing, as_folder):
            group.case(f"{name} {harm.__name__.replace('_', ' ')}", journals(bench, name, harm))


def journals(bench, name, harm):
    space = bench.finished()
    in_store = {"nodes.json": "runs/tiny", "last.json": "runs", "pipeline.yaml": "runs/tiny"}
    path = (space.store / in_store[name] if name in in_store else space.results) / name
    harm(path)
    wrong = []
    named = ["clusters@1", "tiny.yaml", "--set", "epochs=1"]
    for command, more in (("plan", []), ("ls", []), ("why", named), ("show", named)):
        ended = space.run(command, *more)
        wrong += [f"{command}: {what}" for what in oracle.manner(ended, {DONE})]
    # Deleting the list of a run's references discards them.
    if bench.gc and (name, harm) != ("nodes.json", missing):
        wrong += [f"gc: {what}" for what in oracle.manner(space.run("gc"), {DONE, FAILED, DAMAGED})]
    ended = space.run(patience=bench.reference.patience)
    wrong += oracle.manner(ended, {DONE, FAILED} if harm is as_folder else {DONE})
    if ended.code == 0 and ended.ran():
        wrong.append(f"ran {ended.ran()}")
    if harm is as_folder and path.is_dir():
        shutil.rmtree(path)
    wrong += bench.after(space)
    space.remove()
    return wrong
