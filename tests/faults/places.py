"""places: families 15 to 17: clocks that lie, stores that cannot be written, folders in odd places."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import oracle
from oracle import DONE, FAILED
from refusals import mounted, private_mounts
from space import PROGRAM, Space, environment


def image_files(space):
    return sorted((space.folder / "images").rglob("*.jpg"))


def family_15(bench):
    """Times of files, and the clock."""
    group = bench.group(15, "files from the future, from 1970, all of one moment, touched backwards",
                        "the run scans the data set again, and runs nothing else")
    moments = {"the year 2099": 4_070_908_800, "1970": 0, "one moment": 1_600_000_000,
               "an hour back": time.time() - 3600}
    for name, moment in moments.items():
        space = bench.finished()
        space.own_images()
        for path in image_files(space):
            os.utime(path, (moment, moment))
        ended = space.run(patience=bench.reference.patience)
        wrong = oracle.manner(ended, {DONE})
        if set(ended.ran()) - {"dataset@0"}:
            wrong.append(f"ran {ended.ran()}")
        group.case(name, wrong + bench.after(space))
        space.remove()
    changed_within_a_tick(bench)
    changed_unseen(bench)
    group = bench.group(15, "the date jumps by a year between two runs and in the middle of one", "the run ends as undisturbed")
    library = next((path for path in Path("/usr/lib").rglob("libfaketime.so.1")), None)
    if not library:
        group.skip("faketime is not installed")
        return
    for jump in ("-1y", "+1y", "-1y x100", "+0 x1000"):
        space = bench.space()
        env = environment(LD_PRELOAD=os.fspath(library), FAKETIME=jump, DONT_FAKE_MONOTONIC="1")
        ended = space.run(env=env, patience=bench.reference.patience * 2)
        group.case(jump, oracle.manner(ended, {DONE}) + bench.after(space))
        space.remove()


def changed_within_a_tick(bench):
    group = bench.group(15, "a file that changes within the tick in which it was scanned, under its old size and time",
                        "the next scan reads it again: a scan remembers no file younger than the tick")
    space = bench.space()
    space.own_images()
    first, other, source = image_files(space)[0], image_files(space)[1], image_files(space)[2]
    size = max(path.stat().st_size for path in (first, source))
    one, two = (path.read_bytes().ljust(size, b"\0") for path in (first, source))
    moment = time.time_ns()
    first.write_bytes(one)
    os.utime(first, ns=(moment, moment))
    before = space.run("run", "--to", "dataset").digests()["dataset@0"]
    with open(first, "r+b") as file:
        file.write(two)
    os.utime(first, ns=(moment, moment))
    os.utime(other, (5, 5))
    ended = space.run("run", "--to", "dataset")
    wrong = oracle.manner(ended, {DONE})
    if ended.digests().get("dataset@0") == before:
        wrong.append("the scan believes what it remembers of a file that was new")
    group.case("a run", wrong)
    space.remove()


def changed_unseen(bench):
    group = bench.group(15, "a file that changes under its old size, time and inode, long after its scan",
                        "its ctime, which no program sets, changes: the run scans again, and runs what depends on it")
    space = bench.finished()
    space.own_images()
    first, source = image_files(space)[0], image_files(space)[2]
    space.run()  # They have other inodes now.
    old = first.read_bytes()
    times = first.stat().st_mtime_ns
    new = source.read_bytes()[:len(old)].ljust(len(old), b"\0")
    with open(first, "r+b") as file:
        file.write(new)
    os.utime(first, ns=(times, times))
    seen = space.run()
    wrong = oracle.manner(seen, {DONE})
    if not {"dataset@0", "crops@0"} <= set(seen.ran()):
        wrong.append(f"it was not seen: {seen.ran()}")
    with open(first, "r+b") as file:
        file.write(old)
    os.utime(first, ns=(times, times))
    group.case("a run", wrong + bench.after(space, may_run=["dataset@0"]))
    space.remove()


READ_ONLY = (("plan", []), ("ls", []), ("why", ["clusters@1"]), ("show", ["clusters@1"]))


def read_only(bench, group, space, name, wrap=(), idle_codes=(DONE,)):
    """What must work on a store that cannot be written, and what must be refused."""
    commands = READ_ONLY + ((("verify", []),) if bench.verify else ())
    wrong = []
    for command, more in commands:
        ended = space.run(command, *more, wrap=wrap)
        wrong += [f"{command}: {what}" for what in oracle.manner(ended, {DONE})]
    idle = space.run(wrap=wrap, patience=bench.reference.patience)
    wrong += [f"a run with nothing to do: {what}" for what in oracle.manner(idle, set(idle_codes))]
    work = space.run("run", "--set", "clusters.k=5", wrap=wrap, patience=bench.reference.patience)
    wrong += [f"a run with work to do: {what}" for what in oracle.manner(work, {FAILED, oracle.ENVIRONMENT})]
    if work.of("node_finished"):
        wrong.append(f"a run with work to do computed {work.ran()} first")
    group.case(name, wrong)


def family_16(bench):
    """A store that cannot be written."""
    group = bench.group(16, "a store on a read-only mount",
                        "plan, why, ls, show, verify and a run with nothing to do work; a run with work fails at once")
    why = private_mounts()
    if why:
        group.skip(why)
    else:
        for name in ("the store", "the store and the results"):
            space = bench.finished()
            folder = space.store if name == "the store" else space.folder
            subprocess.run(["mount", "--bind", folder, folder], check=True)
            subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
            # Results that cannot be written cannot be locked either: then even that is refused.
            read_only(bench, group, space, name, idle_codes=(DONE,) if folder == space.store else (DONE, FAILED))
            subprocess.run(["umount", folder], check=True)
            group.case(f"{name}, writable again", bench.after(space))
            space.remove()
    group = bench.group(16, "a store of another user", "the same")
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        group.skip("setpriv is not installed, or this is not root")
        return
    wrap = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if subprocess.run([*wrap, PROGRAM, "--version"], capture_output=True).returncode != 0:
        group.skip("the program is in a folder that others cannot read")
        return
    space = bench.finished()
    subprocess.run(["chown", "-R", "65534", space.results], check=True)
    subprocess.run(["chmod", "-R", "a+rX,go-w", space.folder], check=True)
    read_only(bench, group, space, "and results that are one's own", wrap)
    group.case("as its owner again", bench.after(space))
    space.remove()


def family_17(bench):
    """Where folders may be, and what they may be called."""
    group = bench.group(17, "a store on another file system than the images and the results",
                        "the same results, as copies")
    why = private_mounts()
    if why:
        group.skip(why)
    else:
        space = bench.space()
        other = bench.scratch / "elsewhere"
        mounted(other, "size=2g")
        space.store = other / "store"
        group.case("--store", bench.after(space))
        wrong = []
        for file in space.results.rglob("*.safetensors"):
            if file.stat().st_dev == space.store.stat().st_dev:
                wrong.append(f"{file.name} is on the store's file system")
        group.case("results are copies", wrong)
        subprocess.run(["umount", other], check=True)
        space.remove()
    group = bench.group(17, "a store that is a link, odd names, long paths, umask 077", "the same results")
    space = bench.space()
    (space.folder / "real").mkdir()
    space.store.symlink_to("real")
    group.case("a link to a folder", bench.after(space))
    space.remove()
    long = "/".join(["a folder of a very long name " + "x" * 170] * 18)
    odd = {"spaces": "a b  c", "quotes": "it's \"so\" $HOME `x`;", "UTF-8": "ähre ☃",
           "not UTF-8": os.fsdecode(b"\xff\xfe"), "line feed": "a\nb", "3,600 bytes": long}
    for name, folder in odd.items():
        where = bench.scratch / "odd" / folder
        space = Space(where, bench.images, sets=["epochs=1"])
        group.case(name, bench.after(space))
        space.remove()
        shutil.rmtree(bench.scratch / "odd", ignore_errors=True)
    space = bench.space()
    space.store = space.folder / "images/../sub/../.dcpipe"
    (space.folder / "sub").mkdir()
    group.case("..", bench.after(space))
    space.remove()
    space = bench.space()
    ended = space.run(wrap=["sh", "-c", 'umask 077; exec "$@"', "sh"], patience=bench.reference.patience)
    wrong = oracle.manner(ended, {DONE})
    group.case("umask 077", wrong + bench.after(space))
    space.remove()
