#!/usr/bin/env python3
"""run: measures dcpipe and its peers in turn, and writes the table of docs/benchmarks.md; `make bench` starts it.

    make bench                         all rows that need no photographs
    make bench IMAGES=DIR              all rows; DIR holds JPEG photographs in subfolders
    make bench ROWS="1 8" IMAGES=DIR   only these; they are printed, and no file changes
    make bench SMALL=1 IMAGES=DIR      every row with small inputs once, in minutes: a test of the benchmark itself

It runs for about an hour and a half and needs the machine alone: a ratio counts only if nobody else used the cores."""
import argparse
import datetime
import importlib
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile

from questions import QUESTIONS, Bench, lines_of
from turns import Turns

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE, BEGIN, END = ROOT / "docs/benchmarks.md", "<!-- table: begin -->", "<!-- table: end -->"
PEERS = ["torch", "torchvision", "faiss", "sklearn", "pyarrow", "numpy", "PIL"]


def program():
    """The benchmark's executable, built."""
    command = ["cargo", "build", "--release", "--locked", "--bench", "bench", "--message-format=json"]
    built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    made = [json.loads(line) for line in built.splitlines() if line.startswith("{")]
    return next(line["executable"] for line in made if line.get("executable") and line["target"]["kind"] == ["bench"])


def machine():
    """The processor, its cores and the memory."""
    model = next(line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    kib = int(next(line.split()[1] for line in open("/proc/meminfo") if line.startswith("MemTotal")))
    flags = open("/proc/cpuinfo").read()
    widest = "AVX512-BF16" if " avx512_bf16 " in flags else "AVX-512" if " avx512f " in flags else "AVX2"
    return f"{model} ({widest}), {os.cpu_count()} cores, {kib / 2**20:.0f} GiB"


def versions(dali):
    told = ", ".join(f"{name} {importlib.import_module(name).__version__}" for name in PEERS)
    if dali:
        code = "from importlib.metadata import version; print(version('nvidia-dali-cuda130'))"
        told += ", DALI " + subprocess.run([dali, "-c", code], capture_output=True, text=True).stdout.strip()
    return f"Python {platform.python_version()}, {told}"


def commit():
    git = lambda *words: subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    changed = git("status", "--porcelain", "--untracked-files=no")
    return git("rev-parse", "--short", "HEAD") + (" with changes" if changed else "")


def table(lines, bench, told):
    """The table and what is said of it, in Markdown."""
    head = ["#", "what", "dcpipe", "peer", "ratio", "target", "met or missed"]
    rows = [[line.number, line.what, line.ours, line.theirs, line.ratio, line.target, line.verdict] for line in lines]
    text = "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])
    of = f" The photographs are copies of {bench.photographs} files at most, each copy with a comment of its own." if bench.photographs else ""
    agreed = "; ".join(f"row {line.number}: {line.agreed}" for line in lines if line.agreed)
    agreed = f"\nWhat agreed: {agreed}.\n" if agreed else ""
    return f"""{text}

Times are medians of wall time, and of processor time in brackets; "of 5" says of how many repetitions. A ratio is the
peer's wall time by dcpipe's; of row 14 it is dcpipe's memory by the peer's.{of}

{told}
{agreed}"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", type=int, help="numbers of rows; all by default")
    parser.add_argument("--images", type=pathlib.Path, help="a folder of JPEG photographs")
    parser.add_argument("--small", action="store_true", help="small inputs, once, on a busy machine too")
    parser.add_argument("--while-busy", action="store_true", help="prints ratios though others use the cores; writes nothing")
    parser.add_argument("--rounds", type=int, help="repetitions of every row")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "target", help="where the inputs are made for the time of the run")
    args = parser.parse_args()
    chosen = set(args.rows) or set(range(1, 15))
    dali = ROOT / ".native/dali/bin/python"
    dali = dali if (dali.parents[1] / "stamp").exists() else None
    built = program()
    environment = json.loads(subprocess.run([built, "environment"], check=True, capture_output=True, text=True).stdout)
    lines = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=args.work) as work:
        work = pathlib.Path(work)
        turns = Turns(work, environment, args.small, args.small or args.while_busy, args.rounds)
        images = args.images and args.images.resolve()
        bench = Bench(work, turns, built, ROOT / "target/release/dcpipe", images, sys.executable, dali, args.small)
        for question, numbers, needs_images in QUESTIONS:
            if chosen.isdisjoint(numbers):
                continue
            print(question.__doc__, flush=True)
            for line in lines_of(bench, question, numbers, needs_images, chosen):
                lines.append(line)
                print(f"  {line.number} {line.what}: {line.ours} | {line.theirs} | {line.ratio} | {line.target} | {line.verdict} | "
                      f"{line.agreed}", flush=True)
            shutil.rmtree(work / "out", ignore_errors=True)
    lines.sort(key=lambda line: int(line.number.split(",")[0]))
    told = f"{machine()}; {datetime.date.today()}; commit {commit()}. {versions(dali)}."
    busy = "\n\nOthers used the cores: no number here counts." if turns.was_busy else ""
    text = table(lines, bench, told) + busy
    print("\n" + text)
    if chosen == set(range(1, 15)) and bench.images and not (args.small or args.while_busy or args.rounds):
        before, rest = PAGE.read_text().split(BEGIN)
        PAGE.write_text(before + BEGIN + "\n" + text + END + rest.split(END)[1])
        print(f"written to {PAGE.relative_to(ROOT)}")


main()
