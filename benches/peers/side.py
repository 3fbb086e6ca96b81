"""side: what one repetition of a peer needs: its settings, its clocks, and the line of JSON that it prints."""
import json
import os
import pathlib
import resource
import sys
import time

CORES = len(os.sched_getaffinity(0))  # Threads, and workers that read images.


def settings():
    """`key=value` of the command line; whole numbers as such."""
    pairs = (argument.split("=", 1) for argument in sys.argv[1:])
    return {key: int(value) if value.isdigit() else value for key, value in pairs}


def cpu_seconds():
    """User and system time of this process and of its children, such as the workers of a DataLoader."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    ticks = 0
    for task in pathlib.Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            # After the name, which may hold anything: utime and stime are fields 14 and 15 of proc(5).
            ticks += sum(map(int, pathlib.Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


class Timed:
    """The clocks around a step: `with Timed() as spent: ...`."""

    def __enter__(self):
        self.began, self.cpu = time.perf_counter(), cpu_seconds()
        return self

    def __exit__(self, *_):
        self.wall_s, self.cpu_s = time.perf_counter() - self.began, cpu_seconds() - self.cpu


def out_folder(given):
    """The folder for what the two sides are compared by, in a repetition that is checked."""
    if "out" not in given:
        return None
    folder = pathlib.Path(given["out"])
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def report(spent, **check):
    """Prints the repetition's line."""
    print(json.dumps({"wall_s": spent.wall_s, "cpu_s": spent.cpu_s, "check": check}), flush=True)
