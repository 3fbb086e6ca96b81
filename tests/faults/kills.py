"""kills: families 3 to 6: the process ends at the worst moment, or is told to."""

import collections
import random
import shutil
import signal
import subprocess
import time

import oracle
import tracer
from oracle import AT_ONCE, DONE, INTERRUPTED, KILLED
from space import PROGRAM, ROOT, Ended, Space, environment, left_running

# Family 3: what makes a name or bytes, or takes them away.
CHANGES = {
    "openat with O_CREAT": ["openat"], "write": ["write", "pwrite64"], "fsync": ["fsync", "fdatasync"],
    "rename": ["rename", "renameat", "renameat2"], "link": ["link", "linkat"], "unlink": ["unlink", "unlinkat"],
    "mkdir": ["mkdir", "mkdirat"], "flock": ["flock"],
}


def counted(call):
    return call.name != "openat" or call.creates


def traced(bench, space, calls, act, patience=None):
    """A run under the tracer."""
    out, err = space.folder / "out.txt", space.folder / "err.txt"
    argv = space.argv()
    patience = patience or bench.reference.patience * 2
    # The images may be of the folder above: all spaces share them.
    below = f"{space.folder.parent}/"
    code, seconds = tracer.trace(argv, space.folder, environment(), out, err, calls, below, act, patience)
    ended = Ended(argv, code, out.read_text(errors="replace"), err.read_text(errors="replace"), seconds)
    if seconds >= patience:
        ended.err += f"\nHUNG for {patience:.0f} s"
    return ended


def number_of(bench, calls, **more):
    """How many such calls an undisturbed run makes."""
    space = bench.space(**more)
    seen = []
    traced(bench, space, calls, lambda call: seen.append(call) if counted(call) and ours(call) else None)
    space.remove()
    return len(seen)


def ours(call):
    """Not the files that the driver has the program's words written to."""
    return not call.path.endswith(("/out.txt", "/err.txt"))


def where(is_met, answer):
    """Answers at the calls whose number is met, and lets all others happen."""
    seen = [0]

    def act(call):
        if not counted(call) or not ours(call):
            return None
        seen[0] += 1
        return answer if is_met(seen[0]) else None
    return act


def at(number, answer):
    """Answers at the N-th call."""
    return where(lambda seen: seen == number, answer)


def family_3(bench):
    """Killed at the N-th call."""
    why = tracer.available()
    for sets, where in ((["epochs=1"], ""), (["epochs=1", "keep=[]"], ", evicting")):
        reference = bench.reference_of(sets)
        for name, calls in CHANGES.items():
            group = bench.group(3, f"SIGKILL at the N-th {name}{where}",
                                "the same command resumes and ends with the same digests")
            if why or (where and name not in ("unlink", "rename")):
                group.skip(why, quietly=not why)
                continue
            total = number_of(bench, calls, sets=sets)
            for number in bench.numbers(total):
                space = bench.space(sets=sets)
                ended = traced(bench, space, calls, at(number, "kill"))
                wrong = oracle.manner(ended, {KILLED, DONE})
                wrong += bench.after(space, reference=reference)
                group.case(f"{number} of {total}", wrong)
                space.remove()


def family_4(bench):
    """Random kills over one run of a real pipeline."""
    group = bench.group(4, "SIGKILL at random moments of one CIFAR run",
                        "the same command resumes. Each kill repeats at most a shard of work, or a probe's pass and a layer")
    folder = bench.cifar()
    kills = 20 if bench.quick else 200
    sets = [f"vars.images={folder}", "epochs=2"] + (["clusters.k=20", "vectors.dims=20"] if bench.drawn_cifar else [])
    pipeline = ROOT / "pipelines/cifar10.yaml"

    def space(name):
        return Space(bench.scratch / name, None, sets=sets, pipeline=pipeline, run=("cifar10.yaml",))

    undisturbed = space("cifar-undisturbed")
    reference = oracle.Reference(undisturbed)
    once = work(undisturbed_events(undisturbed))
    undisturbed.remove()
    disturbed, chance, total = space("cifar-killed"), random.Random(bench.seed), collections.Counter()
    sent, committed, parts, wrong = 0, set(), collections.Counter(), []
    while not wrong:
        run = disturbed.start()
        if sent < kills:
            try:
                run.child.wait(0.3 + chance.expovariate(kills / (2 * reference.seconds)))
            except subprocess.TimeoutExpired:
                run.signal(signal.SIGKILL)
                sent += 1
        ended = run.wait(reference.patience)
        wrong += oracle.manner(ended, {KILLED, DONE})
        total += work(ended.events())
        for event in ended.of("node_started"):
            if event["reason"]["kind"] == "evicted":
                parts = collections.Counter({key: n for key, n in parts.items() if key[0] != event["node"]})
            elif event["node"] in committed:
                wrong.append(f"{event['node']} had a record and ran again")
        parts.update((event["node"], event["part"]) for event in ended.of("put_down") if not event["hit"])
        wrong += [f"{node} made {part} {count} times" for (node, part), count in parts.items() if count > 1]
        committed = disturbed.committed()
        if ended.code == DONE:
            break
    for node in once:
        # A kill loses what has begun, up to a shard or the work since a checkpoint.
        limit = once[node] + sent * LARGEST_SHARD.get(node.split("@")[0], SHARD)
        if total[node] > limit:
            wrong.append(f"{node} did {total[node]} units, an undisturbed run {once[node]}")
    # In all as well: each kill is worth one shard, whichever node it met.
    again = {node: max(0, total[node] - once[node]) / LARGEST_SHARD.get(node.split("@")[0], SHARD) for node in total}
    shards = sum(again.values())
    if shards > sent:
        wrong.append(f"{sent} kills repeated {shards:.0f} shards")
    share = sum(total.values()) / max(1, sum(once.values())) - 1
    most = max(again, key=again.get)
    wrong += bench.after(disturbed, reference=reference)
    group.case(f"{sent} kills", wrong)
    group.tell(f"{sent} kills in {reference.seconds:.0f} s of work; they repeated {share:.0%} of it, {shards:.0f} shards, "
               f"{again[most]:.0f} of them of {most}")
    disturbed.remove()


# Images of a shard or between two checkpoints; a part of the crops holds 128 MiB. A probe saves after each layer. Before its
# first save lies the pass over all images, for all layers, and a kill repeats it.
PROBED = 8_000 * 6 * 3
SHARD, LARGEST_SHARD = 4096, {"crops": 10_922, "random": PROBED, "evaluation": PROBED}


def undisturbed_events(space):
    """A second run on an empty store, for its progress; the reference kept none."""
    shutil.rmtree(space.store)
    return space.run(patience=3600).events()


def work(events):
    """How many units (images, iterations) each node went through, as its progress tells."""
    first, last = {}, {}
    for event in events:
        if event["type"] == "progress":
            first.setdefault(event["node"], event["done"])
            last[event["node"]] = max(event["done"], last.get(event["node"], 0))
    return collections.Counter({node: last[node] - min(first[node], last[node]) for node in last})


def family_5(bench):
    """Signals, and readers that go away."""
    group = bench.group(5, "SIGINT, SIGTERM, SIGHUP, SIGUSR1 once",
                        "the run stops at the next checkpoint with 75 and prints the command to resume")
    nodes = ["weights@0", "features@1", "weights@1"]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        for node in nodes[:1] if bench.quick else nodes:
            space = bench.space()
            run = space.start()
            met = run.until(rf'"node_started","node":"{node}"')
            run.signal(number)
            ended = run.wait(bench.reference.patience)
            wrong = [] if met else [f"{node} was not seen to start"]
            wrong += oracle.manner(ended, {INTERRUPTED}, ["Resume with the same command"])
            group.case(f"{number.name} in {node}", wrong + bench.after(space))
            space.remove()
    group = bench.group(5, "SIGHUP to a run under nohup", "the run ends as undisturbed")
    space = bench.space()
    run = space.start(before=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    run.until(r'"node_started","node":"features@1"')
    run.signal(signal.SIGHUP)
    group.case("in features@1", oracle.manner(run.wait(bench.reference.patience), {DONE}) + bench.after(space))
    space.remove()
    group = bench.group(5, "SIGINT twice", "the run stops at once with 130")
    for pause in (0.0, 0.05):
        space = bench.space()
        run = space.start()
        run.until(r'"node_started","node":"features@1"')
        run.signal(signal.SIGINT)
        # A second signal of one kind is lost while the first waits to be heard.
        began = time.monotonic()
        while "press Ctrl-C again" not in run.text("err") and time.monotonic() - began < 5 and run.child.poll() is None:
            time.sleep(0.002)
        time.sleep(pause)
        run.signal(signal.SIGINT)
        ended = run.wait(bench.reference.patience)
        group.case(f"after {pause} s", oracle.manner(ended, {AT_ONCE, INTERRUPTED}) + bench.after(space))
        space.remove()
    group = bench.group(5, "SIGSTOP for a while, then SIGCONT", "the run ends as undisturbed")
    space = bench.space()
    run = space.start()
    for pattern in ("crops@0", "features@1", "clusters@1", "weights@1"):
        run.until(rf'"node_started","node":"{pattern}"')
        run.signal(signal.SIGSTOP)
        time.sleep(0.3)
        run.signal(signal.SIGCONT)
    ended = run.wait(bench.reference.patience)
    group.case("four times in a run", oracle.manner(ended, {DONE}) + bench.after(space))
    space.remove()
    family_5_readers(bench)


def family_5_readers(bench):
    group = bench.group(5, "the reader of standard output goes away",
                        "plan, ls and show end quietly; a run with --json runs on to its end")
    space = bench.space()
    told = [(f"{command} tiny.yaml", {DONE, 141}) for command in ("plan", "ls", "show clusters@1")]
    for command, status in [("run tiny.yaml --json", {DONE}), *told, ("schema", {DONE, 141})]:
        for reader in ("head -1", "true"):
            script = f"{PROGRAM} {command} | {reader} >/dev/null; exit ${{PIPESTATUS[0]}}"
            ended = space.run(argv=["bash", "-c", script], patience=bench.reference.patience)
            wrong = oracle.manner(ended, status)
            if ended.err.strip() and "run" not in command:
                wrong.append(f"it complained: {ended.err.strip()}")
            group.case(f"{command} | {reader}", wrong)
    group.case("afterwards", bench.after(space))
    space.remove()


def family_6(bench):
    """No process is left of one that was killed."""
    group = bench.group(6, "processes left after a SIGKILL", "none: the worker ends with its run")
    for node in ("crops@0", "features@1", "weights@1"):
        space = bench.space()
        run = space.start()
        run.until(rf'"node_started","node":"{node}"')
        run.signal(signal.SIGKILL)
        ended = run.wait()
        wrong = oracle.manner(ended, {KILLED})
        left = left_running()
        if left:
            wrong.append(f"still there: {left}")
        group.case(node, wrong + bench.after(space))
        space.remove()
