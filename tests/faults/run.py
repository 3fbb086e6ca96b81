#!/usr/bin/env python3
"""run: drives the built program through faults that only a real system makes, and asks one oracle after each.

    tests/faults/run.py [--family 3,7] [--quick | --all] [--seed N] [--images DIR] [--table FILE]

Needs nothing but Python 3 and the built program; what a machine does not allow is skipped by name. One line is printed
a group of cases, and at the end the table of docs/faults.md. Exit code 1 if anything does not hold."""

import argparse
import datetime
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import company  # noqa: E402
import damage  # noqa: E402
import kills  # noqa: E402
import oracle  # noqa: E402
import places  # noqa: E402
import power  # noqa: E402
import refusals  # noqa: E402
import strangers  # noqa: E402
from space import PROGRAM, Space, draw_images  # noqa: E402

FAMILIES = {
    1: power.family_1, 3: kills.family_3, 4: kills.family_4, 5: kills.family_5, 6: kills.family_6,
    7: refusals.family_7, 8: refusals.family_8, 9: refusals.family_9, 10: damage.family_10, 11: damage.family_11,
    13: company.family_13, 14: company.family_14, 15: places.family_15, 16: places.family_16, 17: places.family_17,
    18: strangers.family_18, 19: refusals.family_19, 27: strangers.family_27, 28: strangers.family_28,
}
# Memory that must be free for the scratch folder to be made in it.
ROOMY = 8 << 30


class Group:
    """Cases of one fault."""

    def __init__(self, family, fault, happens):
        self.family, self.fault, self.happens = family, fault, happens
        self.cases, self.wrong, self.skipped, self.words, self.silent = 0, [], None, [], False

    def case(self, name, wrong):
        self.cases += 1
        self.wrong += [f"{name}: {what}" for what in wrong]
        if wrong:
            print(f"       {self.fault}: {name}: {wrong[0]}", flush=True)
            self.failed = getattr(self, "failed", 0) + 1

    def skip(self, why, quietly=False):
        self.skipped, self.silent = why, quietly

    def tell(self, words):
        self.words.append(words)

    @property
    def passed(self):
        return self.cases - getattr(self, "failed", 0)

    def line(self):
        if self.skipped:
            return f"{self.family:>3} {self.fault}: skipped ({self.skipped})"
        words = f" ({'; '.join(self.words)})" if self.words else ""
        return f"{self.family:>3} {self.fault}: {self.cases} cases, {self.passed} passed{words}"


class Bench:
    """What every family works with."""

    def __init__(self, args):
        self.quick, self.every, self.seed = args.quick, args.all, args.seed
        self.given = args.images or os.environ.get("CIFAR10")
        self.drawn_cifar = not self.given
        memory = Path("/dev/shm")
        roomy = memory.is_dir() and shutil.disk_usage(memory).free > ROOMY
        self.scratch = Path(tempfile.mkdtemp(prefix="dcpipe-faults-", dir=args.scratch or (memory if roomy else None)))
        os.chmod(self.scratch, 0o755)
        self.images = self.scratch / "images"
        draw_images(self.images)
        self.groups, self.numbered, self.references, self.damage = [], 0, {}, []
        self.random = random.Random(self.seed)
        self.verify = oracle.has_command("verify")
        self.gc = oracle.has_command("gc")
        self.reference = self.reference_of(["epochs=1"])

    def told(self, what, harm):
        """A line of the table of damage."""
        self.damage.append(damage.Told(what, harm))
        return self.damage[-1]

    def space(self, sets=("epochs=1",), name=None):
        """A new one, with nothing run."""
        self.numbered += 1
        return Space(self.scratch / (name or f"space-{self.numbered}"), self.images, sets=sets)

    def finished(self, sets=("epochs=1",), name=None):
        """A new one, in which the pipeline has run to its end."""
        key = tuple(sets)
        self.reference_of(sets)
        self.numbered += 1
        return self.references[key][1].copy(self.scratch / (name or f"space-{self.numbered}"))

    def reference_of(self, sets):
        """The undisturbed run with these overrides, done once."""
        key = tuple(sets)
        if key not in self.references:
            space = Space(self.scratch / f"reference-{len(self.references)}", self.images, sets=sets)
            self.references[key] = (oracle.Reference(space), space)
        return self.references[key][0]

    def finished_events(self):
        """Every node's key and digest, as a run with nothing to do tells them."""
        space = self.finished()
        events = space.run().of("node_hit")
        space.remove()
        return events

    def after(self, space, reference=None, **more):
        return oracle.after(space, reference or self.reference, self.verify, **more)

    def numbers(self, total):
        """Which of the N-th calls are hit: all, or some spread over the run, with the first and the last."""
        most = 3 if self.quick else 8
        if self.every or total <= most:
            return list(range(1, total + 1))
        chosen = {1, total, *self.random.sample(range(2, total), most - 2)}
        return sorted(chosen)

    def group(self, family, fault, happens):
        self.close()
        self.groups.append(Group(family, fault, happens))
        return self.groups[-1]

    def close(self):
        """Prints the line of the group that has ended."""
        if self.groups and not self.groups[-1].silent:
            print(self.groups[-1].line(), flush=True)

    def cifar(self):
        """Images for the run that is killed many times."""
        if self.given:
            return os.path.abspath(self.given)
        return self.images


def table(groups):
    lines = ["| | fault | what happens | cases | held |", "|---|---|---|---|---|"]
    for group in groups:
        if group.silent:
            continue
        counts = f"- | skipped: {group.skipped}" if group.skipped else f"{group.cases} | {group.passed}"
        told = f" ({'; '.join(group.words)})" if group.words else ""
        lines.append(f"| {group.family} | {group.fault} | {group.happens}{told} | {counts} |")
    return "\n".join(lines) + "\n"


def report(bench, took, file):
    """Tells what was seen."""
    groups = bench.groups
    text = table(groups) + "\n" + damage_table(bench.damage)
    print("\n" + text)
    held, cases = sum(group.passed for group in groups), sum(group.cases for group in groups)
    skipped = sorted({group.skipped for group in groups if group.skipped and not group.silent})
    day = datetime.date.today().isoformat()
    print(f"{day}: {cases} cases, {held} held, in {took:.0f} s; skipped: {'; '.join(skipped) or 'none'}", flush=True)
    if file:
        Path(file).write_text(text)
    return held, cases


def damage_table(told):
    lines = ["| what | that is | kinds tried | `dcpipe run` says | `dcpipe verify` says | the next run |", "|" + "---|" * 6]
    return "\n".join(lines + [each.line() for each in told]) + "\n" if told else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", help="only these, such as 3,7")
    parser.add_argument("--quick", action="store_true", help="a few cases of each")
    parser.add_argument("--all", action="store_true", help="every N of every call; an hour and more")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", help="folder of small images for family 4; default $CIFAR10, else drawn ones")
    parser.add_argument("--scratch", help="folder to work in; default memory where there is plenty")
    parser.add_argument("--table", help="file that the table is written to as well")
    args = parser.parse_args()
    if not PROGRAM.exists():
        raise SystemExit(f"{PROGRAM} is not there; make builds it")
    wanted = [int(word) for word in args.family.split(",")] if args.family else list(FAMILIES)
    if unknown := [number for number in wanted if number not in FAMILIES]:
        raise SystemExit(f"no family {unknown}; there are {list(FAMILIES)}")
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # What was made is removed, and what was seen told, as well.
    bench = Bench(args)
    try:
        if not bench.verify:
            print("there is no dcpipe verify yet: stores are judged by the runs that follow alone")
        try:
            for number in wanted:
                FAMILIES[number](bench)
            bench.close()
        finally:
            held, cases = report(bench, time.monotonic() - began, args.table)
        return 1 if held < cases else 0
    finally:
        os.system(f"chmod -R u+w {bench.scratch} 2>/dev/null; rm -rf {bench.scratch}")


if __name__ == "__main__":
    sys.exit(main())
