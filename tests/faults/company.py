"""company: families 13 and 14: several processes on one store, and what others left in locks/."""

import collections
import os
import shutil
import signal

import oracle
from oracle import DONE, FAILED, KILLED


def made(runs):
    """How often each key was made by all runs together."""
    return collections.Counter(event["key"] for ended in runs for event in ended.of("node_finished"))


def once(runs):
    twice = {key: count for key, count in made(runs).items() if count > 1}
    names = {event["key"]: event["node"] for ended in runs for event in ended.of("node_finished")}
    return [f"{names[key]} was made {count} times" for key, count in twice.items()]


def together(bench, space, commands):
    """Starts them all, and waits for all."""
    runs = [space.start(argv=argv) for argv in commands]
    return [run.wait(bench.reference.patience * len(commands)) for run in runs]


def beside_each_other(bench, trials, fault, happens, others):
    """The run, and others with these arguments, begun at the same moment."""
    group = bench.group(13, fault, happens)
    for trial in range(trials):
        space = bench.space()
        runs = together(bench, space, [space.argv(), *(space.argv("run", *other) for other in others)])
        wrong = sum((oracle.manner(ended, {DONE}) for ended in runs), []) + once(runs)
        group.case(f"trial {trial}", wrong + bench.after(space))
        space.remove()


def family_13(bench):
    """Several at once."""
    trials = 2 if bench.quick else 5
    beside_each_other(bench, trials, "two runs of one pipeline at once", "each node is made once in all, both end well",
                      [[]])
    beside_each_other(bench, trials, "two runs under two names", "the same", [["--name", "other"]])
    beside_each_other(bench, trials, "two runs whose parameters part ways", "what they share is made once in all",
                      [["--name", "other", "--set", "clusters.k=5"]])
    group = bench.group(13, "one of two runs is killed", "the other takes over")
    for node in ("crops@0", "features@1", "weights@1"):
        space = bench.space()
        first = space.start()
        first.until(rf'"node_started","node":"{node}"')
        second = space.start()
        second.until(r'"type":"node_(waits|hit)"')
        first.signal(signal.SIGKILL)
        wrong = oracle.manner(first.wait(), {KILLED, DONE})
        wrong += oracle.manner(second.wait(bench.reference.patience * 2), {DONE})
        group.case(f"in {node}", wrong + bench.after(space))
        space.remove()
    beside(bench, "gc", bench.gc)
    beside(bench, "verify", bench.verify)
    others = [["--name", f"name-{at}"] if at % 2 else [] for at in range(1, 8)]
    beside_each_other(bench, 1 if bench.quick else 50, "8 processes at once",
                      "each node is made once in all, all end well", others)


def beside(bench, command, there):
    """Another command again and again while a run works."""
    group = bench.group(13, f"a run, and {command} again and again beside it",
                        "both end well; no node is missed or made twice")
    if not there:
        group.skip(f"there is no dcpipe {command} yet")
        return
    for sets in (["epochs=1"], ["epochs=1", "keep=[]"]):
        space = bench.space(sets=sets)
        run, wrong, count = space.start(), [], 0
        while run.child.poll() is None:
            if (space.store / "FORMAT").exists():
                ended = space.run(command)
                wrong += oracle.manner(ended, {DONE, oracle.IN_USE} if command == "gc" else {DONE})
                count += 1
        ended = run.wait()
        wrong += oracle.manner(ended, {DONE}) + once([ended])
        group.case(f"{' '.join(sets)}", wrong + bench.after(space, reference=bench.reference_of(sets)))
        group.tell(f"{count} times")
        space.remove()


def family_14(bench):
    """Rubbish in locks/."""
    group = bench.group(14, "rubbish in locks/", "ignored: only the kernel's locks count")
    keys = sorted({event["key"] for event in bench.finished_events()})

    def file(text):
        return lambda path: path.write_text(text)

    def folder(path):
        path.mkdir()
        (path / "x").touch()

    kinds = {"empty": file(""), "a number": file("4711\nhost\n"),
             "noise": lambda path: path.write_bytes(os.urandom(500)), "a folder": folder,
             "a broken link": lambda path: path.symlink_to("nowhere"), "a pipe": os.mkfifo,
             "of mode 0": lambda path: (path.touch(), os.chmod(path, 0))}
    for name in ("somebody.lock", "store", keys[0], keys[len(keys) // 2]):
        for kind, make in kinds.items():
            space = bench.space()
            (space.store / "locks").mkdir(parents=True)
            make(space.store / "locks" / name)
            ended = space.run(patience=bench.reference.patience)
            # A folder cannot be locked like a file; that is said, and a person must look.
            hopeless = name == "store" and kind == "a folder"
            wrong = oracle.manner(ended, {DONE, FAILED} if hopeless else {DONE})
            if hopeless:
                shutil.rmtree(space.store / "locks/store", ignore_errors=True)
            elif kind == "a pipe" and ended.code != 0:
                os.remove(space.store / "locks" / name)
            group.case(f"{name[:12]} is {kind}", wrong + bench.after(space))
            space.remove()
