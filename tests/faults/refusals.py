"""refusals: families 7 to 9 and 19: the system says no, says it half, or says it too late."""

import ctypes
import errno
import os
import shutil
import subprocess
import time

import oracle
import tracer
from kills import at, counted, number_of, ours, traced, where
from oracle import DONE, ENVIRONMENT, FAILED
from space import PROGRAM

# What a full disk refuses; a record or a name needs room as well as bytes do.
NEEDS_ROOM = {"write": ["write", "pwrite64"], "openat with O_CREAT": ["openat"], "mkdir": ["mkdir", "mkdirat"],
              "rename": ["rename", "renameat", "renameat2"], "fsync": ["fsync", "fdatasync"]}


def from_(number, answer):
    """Answers so from the N-th call on."""
    return where(lambda seen: seen >= number, answer)


def sweep(bench, group, calls, act, words=()):
    """One run for each of the N-th calls, each followed by the oracle."""
    why = tracer.available()
    if why:
        group.skip(why)
        return
    total = number_of(bench, calls)
    for number in bench.numbers(total):
        space = bench.space()
        ended = traced(bench, space, calls, act(number))
        # A run ends with 6 when its worker cannot open the store.
        wrong = oracle.manner(ended, {FAILED, ENVIRONMENT, DONE}, words if ended.code != DONE else ())
        group.case(f"{number} of {total}", wrong + bench.after(space))
        space.remove()


def family_7(bench):
    """No space, no quota, no descriptors, no locks."""
    for error in (errno.ENOSPC, errno.EDQUOT):
        name = errno.errorcode[error]
        for what, calls in NEEDS_ROOM.items():
            if error == errno.EDQUOT and what not in ("write", "mkdir"):
                continue
            group = bench.group(7, f"{name} at the N-th {what}",
                                "the run fails with a line that says where and what to do, or continues where it can")
            sweep(bench, group, calls, lambda number: at(number, error), words=[os.strerror(error)])
    group = bench.group(7, "ENOSPC for every change from the N-th on",
                        "the run fails; with room again the same command resumes")
    full = [os.strerror(errno.ENOSPC)]
    sweep(bench, group, sum(NEEDS_ROOM.values(), []), lambda number: from_(number, errno.ENOSPC), words=full)
    real_disk(bench)
    limits(bench)
    group = bench.group(7, "ENOLCK at the N-th flock",
                        "the run fails and says that there are no locks, or continues where it can")
    # Advice for the store and for the results in other words, each with what to name instead.
    sweep(bench, group, ["flock"], lambda number: at(number, errno.ENOLCK), words=[os.strerror(errno.ENOLCK), "name a"])


def private_mounts():
    """Why this process can have no mounts of its own; None where it has them from now on."""
    if os.geteuid() != 0:
        return "mounts: only as root"
    libc = ctypes.CDLL(None, use_errno=True)
    # CLONE_NEWNS; then MS_REC | MS_PRIVATE, so that nobody else sees them.
    if libc.unshare(0x20000) != 0 or libc.mount(b"none", b"/", None, 0x44000, None) != 0:
        return "mounts: this system does not let us"
    return None


def mounted(folder, options):
    folder.mkdir(exist_ok=True)
    return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True).returncode == 0


def real_disk(bench):
    """A store on a file system of k MiB, k growing."""
    group = bench.group(7, "a disk of k MiB that is really full",
                        "the node fails with a line; with room again the same command resumes")
    why = private_mounts()
    if why:
        group.skip(why)
        return
    for size in [1, 20, 60] if bench.quick else [1, 2, 5, 10, 20, 40, 60, 80, 90, 100, 120, 140, 150, 160, 165]:
        space = bench.space()
        if not mounted(space.store, f"size={size}m"):
            group.skip("mounts: no tmpfs here")
            return
        ended = space.run(patience=bench.reference.patience)
        wrong = oracle.manner(ended, {FAILED, DONE}, ["No space left"] if ended.code == FAILED else ())
        if bench.gc:
            cleared = space.run("gc")
            wrong += [f"gc on a full disk: {what}" for what in oracle.manner(cleared, {DONE})]
        subprocess.run(["mount", "-o", "remount,size=2g", space.store], check=True)
        group.case(f"{size} MiB", wrong + bench.after(space))
        subprocess.run(["umount", space.store], check=True)
        space.remove()


def limits(bench):
    """Limits of the process itself."""
    group = bench.group(7, "a file size limit (ulimit -f)",
                        "EFBIG is an error of the node like any other, not a signal")
    for size in (0, 4096, 1 << 20, 50 << 20):
        limited(bench, group, f"--fsize={size}", {FAILED})
    group = bench.group(7, "a limit of descriptors (ulimit -n)", "the run says that too many files are open, or ends well")
    for count in (3, 6, 10, 14, 18, 24, 32, 64):
        limited(bench, group, f"--nofile={count}", None)


def limited(bench, group, limit, codes):
    """With `codes`, how it must end."""
    if not shutil.which("prlimit"):
        group.skip("prlimit is not installed")
        return
    space = bench.space()
    ended = space.run(wrap=["prlimit", limit], patience=bench.reference.patience)
    wrong = oracle.manner(ended, codes)
    if limit == "--fsize=0":
        # What it says goes to a file, too.
        wrong = [] if ended.code == FAILED else [f"ended with {ended.code}"]
    if codes is None and ended.code < 0:
        wrong.append(f"died of signal {-ended.code}: {ended.err.strip()[-300:]}")
    group.case(limit, wrong + bench.after(space))
    space.remove()


def family_8(bench):
    """The disk fails."""
    whats = {
        "read": (["read", "pread64"], counted), "write": (["write", "pwrite64"], counted),
        "fsync of a file": (["fsync", "fdatasync"], lambda call: not os.path.isdir(call.path)),
        "fsync of a folder": (["fsync", "fdatasync"], lambda call: os.path.isdir(call.path)),
        # Rust's own library holds a failed close of a folder to be impossible.
        "close of a file": (["close"], lambda call: not os.path.isdir(call.path)), "mmap": (["mmap"], counted),
        "rename": (["rename", "renameat2"], counted), "stat": (["statx"], counted),
        "stat of a folder of images": (["statx"], lambda call: "/images/" in call.path and os.path.isdir(call.path)),
    }
    for what, (calls, picks) in whats.items():
        group = bench.group(8, f"EIO at the N-th {what}",
                            "the run fails with a line that names the file, or continues where nothing is lost")
        why = tracer.available()
        if why:
            group.skip(why)
            continue
        seen = []
        space = bench.space()
        traced(bench, space, calls, lambda call: seen.append(call) if picks(call) and ours(call) else None)
        space.remove()
        for number in bench.numbers(len(seen)):
            space, met = bench.space(), [0]

            def act(call):
                if not picks(call) or not ours(call):
                    return None
                met[0] += 1
                return errno.EIO if met[0] == number else None
            ended = traced(bench, space, calls, act)
            # The pipeline file is read as well.
            wrong = oracle.manner(ended, {FAILED, DONE, oracle.PIPELINE} if what == "read" else {FAILED, DONE})
            group.case(f"{number} of {len(seen)}", wrong + bench.after(space))
            space.remove()


def family_9(bench):
    """Calls that do a part of their work, or are interrupted."""
    why = tracer.available()
    every = [0]

    def second(answer):
        def act(call):
            every[0] += 1
            return answer if ours(call) and every[0] % 2 else None
        return act

    def short(call):
        wanted = call.registers[tracer.RDX]
        return ("short", 1 + wanted * 2 // 3) if ours(call) and wanted > 1 else None

    for name, calls, act in (
        ("every write is short", ["write", "pwrite64"], short),
        ("every read is short", ["read", "pread64"], short),
        ("every other write is interrupted (EINTR)", ["write", "pwrite64"], second(errno.EINTR)),
        ("every other read is interrupted (EINTR)", ["read", "pread64"], second(errno.EINTR)),
        ("every other openat is interrupted (EINTR)", ["openat"], second(errno.EINTR)),
        ("every other fsync is interrupted (EINTR)", ["fsync", "fdatasync"], second(errno.EINTR)),
        ("every other flock is interrupted (EINTR)", ["flock"], second(errno.EINTR)),
    ):
        group = bench.group(9, name, "the run ends as undisturbed")
        if why:
            group.skip(why)
            continue
        space = bench.space()
        ended = traced(bench, space, calls, act, patience=bench.reference.patience * 10)
        group.case("a run", oracle.manner(ended, {DONE}) + bench.after(space))
        space.remove()


def family_19(bench):
    """Memory runs out."""
    group = bench.group(19, "a limit of address space (ulimit -v)",
                        "the run ends with an error, or the kernel kills it. The next run resumes")
    if not shutil.which("prlimit"):
        group.skip("prlimit is not installed")
        return
    ends = {}
    for size in [1000, 2000] if bench.quick else [200, 400, 600, 800, 1000, 1200, 1500, 1800, 2200, 2600, 3000]:
        space = bench.space()
        ended = space.run(wrap=["prlimit", f"--as={size << 20}"], patience=bench.reference.patience)
        ends[ended.code] = ends.get(ended.code, 0) + 1
        wrong = [what for what in oracle.manner(ended, None) if "HUNG" in what or "panicked" in what]
        group.case(f"{size} MiB", wrong + bench.after(space))
        space.remove()
    group.tell("ended with " + ", ".join(f"{code} {count} times" for code, count in sorted(ends.items())))
    memory_group(bench)


def memory_group(bench):
    """A cgroup whose memory is too small: the kernel kills the process."""
    group = bench.group(19, "a cgroup's memory limit", "the kernel kills the run; the next one resumes")
    folder = "/sys/fs/cgroup/dcpipe-faults"
    try:
        with open("/sys/fs/cgroup/cgroup.subtree_control") as file:
            if "memory" not in file.read():
                raise OSError(0, "the memory controller is not ours to use")
        os.mkdir(folder)
        with open(f"{folder}/memory.max", "w") as file:
            file.write(str(300 << 20))
    except OSError as error:
        if os.path.isdir(folder):
            os.rmdir(folder)
        group.skip(f"cgroup v2: {error.strerror}")
        return
    space = bench.space()
    script = f"echo $$ > {folder}/cgroup.procs && exec {PROGRAM} run tiny.yaml --json --set epochs=1"
    ended = space.run(argv=["sh", "-c", script], patience=bench.reference.patience)
    group.case("300 MiB", oracle.manner(ended, {-9, FAILED, DONE}) + bench.after(space))
    for _ in range(50):  # The kernel takes a moment to bury the last of it.
        try:
            os.rmdir(folder)
            break
        except OSError:
            time.sleep(0.1)
    space.remove()
