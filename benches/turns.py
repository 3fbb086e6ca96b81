"""turns: runs both sides of a comparison in turn, each repetition in a process of its own, and sees who else used the cores."""
import dataclasses
import json
import os
import pathlib
import resource
import statistics
import subprocess
import threading
import time

ROUNDS, FEWER, LONG = 5, 3, 60  # Repetitions; of steps longer than LONG seconds, FEWER.
TRIES = 3  # Of a round during which another process used the cores.
SHARE, LEAST = 0.10, 0.5  # Of the cores' time, and in seconds: what others may use unnoticed.
QUIET, WAIT = 0.05, 300  # Others' share before a round begins, and how many seconds to wait for it.
LOOK, LOOKING = 1.0, 0.02  # Seconds between two looks at memory, and the share of a core that looking may take before that.
TICKS = os.sysconf("SC_CLK_TCK")
CORES = os.cpu_count()


class Busy(Exception):
    """Another process used the cores."""


@dataclasses.dataclass
class Repetition:
    """What one process reported, and what was seen of it."""

    wall_s: float
    cpu_s: float
    check: dict
    peak_mib: float


@dataclasses.dataclass
class Side:
    """All repetitions of one side."""

    repetitions: list

    def median(self, of=lambda repetition: repetition.wall_s):
        return statistics.median(map(of, self.repetitions))

    @property
    def cpu(self):
        return self.median(lambda repetition: repetition.cpu_s)

    @property
    def first(self):
        """What the checked repetition reported."""
        return self.repetitions[0].check


def busy_seconds():
    """Time that the cores were not idle, other machines on the same hardware included."""
    fields = list(map(int, pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]))
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields[:8]
    return (user + nice + system + irq + softirq + steal) / TICKS


def own_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def tree(pid):
    """A process and those that it started."""
    found, todo = [], [pid]
    while todo:
        at = todo.pop()
        found.append(at)
        try:
            for task in pathlib.Path(f"/proc/{at}/task").iterdir():
                todo += map(int, (task / "children").read_text().split())
        except OSError:
            pass
    return found


def anonymous_mib(pid):
    """Anonymous memory of a process and of those that it started, pages that they share counted once."""
    kib = 0
    for at in tree(pid):
        try:
            lines = pathlib.Path(f"/proc/{at}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))
    return kib / 1024


class Memory(threading.Thread):
    """Looks at a process's anonymous memory until it is told to end, and keeps the largest."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.ended = pid, 0.0, threading.Event()

    def run(self):
        pause = 0.02  # A short command is looked at more often.
        while not self.ended.is_set():
            began = time.thread_time()
            self.peak = max(self.peak, anonymous_mib(self.pid))
            pause = min(LOOK, max(pause * 1.2, (time.thread_time() - began) / LOOKING))
            self.ended.wait(pause)


def watched(command, **options):
    """Runs a command to its end: its exit code, wall and processor time, and its largest anonymous memory."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)
    memory = Memory(process.pid)
    memory.start()
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    memory.ended.set()
    memory.join()
    return process.returncode, wall, used.ru_utime + used.ru_stime, memory.peak


class Turns:
    """Settings of all rows: how patient to be, and where output goes."""

    def __init__(self, work, environment, small=False, while_busy=False, rounds=None):
        self.work, self.environment = work, environment
        self.small, self.while_busy, self.rounds = small, while_busy, rounds
        self.was_busy = False

    def once(self, command, ours=False):
        """One repetition in a process."""
        env = os.environ | (self.environment if ours else {})
        said, errors = self.work / "said", self.work / "errors"
        before = busy_seconds() - own_seconds(), time.perf_counter()
        with open(said, "w") as out, open(errors, "w") as err:
            code, _, cpu, peak = watched([str(word) for word in command], stdout=out, stderr=err, env=env)
        wall = time.perf_counter() - before[1]
        others = busy_seconds() - own_seconds() - before[0] - cpu
        if code:
            raise RuntimeError(f"{' '.join(map(str, command))}\nended with {code}:\n{errors.read_text()[-2000:]}")
        if others > max(LEAST, SHARE * wall * CORES):
            if not self.while_busy:
                raise Busy(f"others used {others:.1f} s of {wall * CORES:.1f} s")
            self.was_busy = True
        line = json.loads(said.read_text().strip().splitlines()[-1])
        return Repetition(line["wall_s"], line["cpu_s"], line["check"], line.get("peak_anon_mib", peak))

    def wait(self):
        """Until nobody else uses the cores."""
        deadline = time.monotonic() + WAIT
        while not self.while_busy:
            before = busy_seconds(), time.perf_counter()
            time.sleep(1)
            share = (busy_seconds() - before[0]) / (time.perf_counter() - before[1]) / CORES
            if share <= QUIET:
                return
            if time.monotonic() > deadline:
                raise Busy(f"others used {share:.0%} of the cores for {WAIT} s")

    def prepare(self, command):
        """Runs a command whose time does not count."""
        subprocess.run([str(word) for word in command], env=os.environ | self.environment, check=True, stdout=subprocess.DEVNULL)

    def all(self, sides, before=lambda: None, after=lambda name, repetition: None):
        """Runs `sides` (by name; the first is ours) in turn, A B A B. The first round writes what is compared.

        `before` runs before each repetition, and `after` after those of the first round, off the clock.
        """
        found = {name: Side([]) for name in sides}
        rounds = self.rounds or (1 if self.small else ROUNDS)
        number = 0
        while number < rounds:
            made = self.round(sides, number == 0, before, after if number == 0 else lambda *_: None)
            for name, repetition in made.items():
                found[name].repetitions.append(repetition)
            if not self.rounds and max(repetition.wall_s for repetition in made.values()) > LONG:
                rounds = min(rounds, FEWER)
            number += 1
        return found

    def round(self, sides, checked, before, after):
        for attempt in range(TRIES):
            try:
                self.wait()
                made = {}
                for at, (name, command) in enumerate(sides.items()):
                    before()
                    out = [f"out={self.work / 'out' / name}"] if checked else []
                    made[name] = self.once(command + out, ours=at == 0)
                    after(name, made[name])
                return made
            except Busy as busy:
                print(f"  busy: {busy}; {TRIES - attempt - 1} more tries", flush=True)
        raise Busy("the machine was busy")
