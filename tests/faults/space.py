"""space: a folder with a pipeline and images, the built program run in it, and what its store then holds."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Another program than the one that was built, such as a copy that no build changes.
PROGRAM = Path(os.environ.get("DCPIPE_PROGRAM", ROOT / "target/release/dcpipe"))
TINY = ROOT / "tests/data/walk/tiny.yaml"
GENERATE = """name: drawn
seed: 7
epochs: 1
once:
  dataset: { stage: generate, with: { images: 60, size: 64 } }
each_epoch: {}
"""
# Everything a family starts carries this, so that what is left of it is found.
MARK = f"DCPIPE_FAULTS=session-{os.getpid()}"


def environment(**more):
    kept = {name: value for name, value in os.environ.items() if name not in ("RUST_BACKTRACE", "IMAGENET", "CIFAR10")}
    name, value = MARK.split("=")
    return {**kept, name: value, **more}


def default_signals():
    """In the child: the driver may have been started with some of them ignored, as nohup does."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


class Ended:
    """How a command ended, and what it said."""

    def __init__(self, argv, code, out, err, seconds):
        self.argv, self.code, self.out, self.err, self.seconds = argv, code, out, err, seconds

    def events(self):
        """Those of a run with --json; a killed one may have left half a line."""
        lines = self.out.split("\n")[:-1]
        return [json.loads(line) for line in lines if line.startswith("{")]

    def of(self, kind):
        return [event for event in self.events() if event["type"] == kind]

    def ran(self):
        return [event["node"] for event in self.of("node_finished")]

    def digests(self):
        """Node -> digest of what it made, as the events tell."""
        seen = self.of("node_hit") + self.of("node_finished")
        return {event["node"]: event["artifact"] for event in seen}

    def __str__(self):
        return f"{' '.join(map(str, self.argv))} ended with {self.code} after {self.seconds:.1f} s\n{self.err[-1500:]}"


class Space:
    """A folder of its own. Commands run in it, with the store and the results in their default places."""

    def __init__(self, folder, images, sets=(), pipeline=TINY, run=("tiny.yaml",)):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        shutil.copy(pipeline, self.folder / run[0])
        if images is not None:
            # One link to the folder, so that inodes and times are the same in every space.
            os.symlink(images, self.folder / "images")
        self.sets = list(sets)
        self.store = self.folder / ".dcpipe"
        self.pipeline = run[0]
        self.results = self.folder / "runs" / run[0].removesuffix(".yaml")

    def argv(self, command="run", *more):
        named = [self.pipeline] if command in ("run", "plan", "ls") else []
        sets = [word for value in self.sets for word in ("--set", value)] if named else []
        json_too = ["--json"] if command == "run" else []
        # From elsewhere the store must be named; in its own folder it need not be.
        store = [] if self.store == self.folder / ".dcpipe" else ["--store", os.fspath(self.store)]
        return [os.fspath(PROGRAM), command, *map(str, more), *named, *json_too, *sets, *store]

    def run(self, command="run", *more, patience=120, env=None, wrap=(), argv=None):
        """A command to its end. What it says goes to files: it never waits for a reader."""
        started = self.start(command, *more, env=env, wrap=wrap, argv=argv)
        return started.wait(patience)

    def start(self, command="run", *more, env=None, wrap=(), argv=None, before=default_signals):
        argv = [*wrap, *(argv or self.argv(command, *more))]
        return Started(argv, self.folder, env or environment(), before)

    def records(self):
        """Path -> the JSON of every record that reads as one. Shards have a line more in their key text."""
        found = {}
        for path in sorted((self.store / "records").glob("*/*")):
            try:
                found[path] = json.loads(path.read_bytes().split(b"\n")[0])
            except (OSError, ValueError):
                pass
        return found

    def committed(self):
        """Nodes with a record."""
        return {record["node"] for record in self.records().values() if "\nshard " not in record["key_text"]}

    def record_of(self, node, events=None):
        """Path and JSON of a node's record in the last run."""
        keys = json.loads((self.store / "runs" / self.results.name / "nodes.json").read_text())
        path = self.store / "records" / keys[node][:2] / keys[node]
        return path, json.loads(path.read_bytes().split(b"\n")[0])

    def forget(self, node):
        """Removes a node's record and those of its shards, so that it runs again."""
        for path, record in self.records().items():
            if record["node"] == node:
                path.unlink()

    def object_of(self, part):
        return self.store / "objects" / part["object"][:2] / part["object"]

    def exported(self):
        """Path below the results -> what is in it; without what tells of the runs themselves."""
        own = ("events.jsonl", ".index.json", ".lock")
        files = [path for path in self.results.rglob("*") if path.is_file() and path.name not in own]
        found = {str(path.relative_to(self.results)): hashlib.sha1(path.read_bytes()).hexdigest() for path in files}
        # The page counts interruptions and wall time, so its bytes differ. It must be whole.
        page = self.results / "report.html"
        if page.is_file():
            found["report.html"] = "whole" if page.read_bytes().rstrip().endswith(b"</html>") else "cut short"
            assert found["report.html"] == "whole", page
        return found

    def tmp(self):
        folder = self.store / "tmp"
        return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []

    def copy(self, folder):
        """The same state once more; what never changes in place is shared."""
        os.makedirs(Path(folder).parent, exist_ok=True)
        subprocess.run(["cp", "-a", "--link", self.folder, folder], check=True)
        other = Space.__new__(Space)
        other.__dict__.update(self.__dict__)
        other.folder, other.store = Path(folder), Path(folder) / ".dcpipe"
        other.results = Path(folder) / "runs" / self.results.name
        # What is written in place must not be shared.
        in_place = [*other.store.glob("runs/**/*"), *other.store.glob("stat/*"), *other.results.rglob("*"),
                    other.store / "FORMAT", other.folder / self.pipeline]
        for path in in_place:
            if path.is_file() and not path.is_symlink() and path.suffix not in (".arrow", ".safetensors"):
                own(path)
        return other

    def own_images(self):
        """Gives the space images that are its own, to change something about them: they are new files to it."""
        path = self.folder / "images"
        shared = path.resolve()
        path.unlink()
        shutil.copytree(shared, path)

    def remove(self):
        subprocess.run(["chmod", "-R", "u+w", self.folder], stderr=subprocess.DEVNULL)
        shutil.rmtree(self.folder, ignore_errors=True)


def own(path):
    """Gives a file its own bytes, where it shared them with another name."""
    bytes_, mode, times = path.read_bytes(), path.stat().st_mode, path.stat()
    path.unlink()
    path.write_bytes(bytes_)
    os.chmod(path, mode & 0o777)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


class Started:
    """A program that runs."""

    def __init__(self, argv, cwd, env, before=default_signals):
        self.argv = argv
        self.said = tempfile.TemporaryDirectory()
        self.began = time.monotonic()
        with open(self.path("out"), "wb") as out, open(self.path("err"), "wb") as err:
            words = [os.fspath(word) for word in argv]
            self.child = subprocess.Popen(words, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                          preexec_fn=before)

    def path(self, name):
        return os.path.join(self.said.name, name)

    def text(self, name):
        with open(self.path(name), "rb") as file:
            return file.read().decode(errors="replace")

    def until(self, wanted, patience=60):
        """Waits for words in what it has said; False where it ends before."""
        limit = time.monotonic() + patience
        while time.monotonic() < limit:
            ended = self.child.poll() is not None
            if re.search(wanted, self.text("out")):
                return True
            if ended:
                return False
            time.sleep(0.002)
        return False

    def signal(self, number):
        self.child.send_signal(number)

    def wait(self, patience=120):
        hung = ""
        try:
            self.child.wait(patience)
        except subprocess.TimeoutExpired:
            self.child.send_signal(signal.SIGKILL)
            self.child.wait()
            hung = f"\nHUNG for {patience:.0f} s"
        took = time.monotonic() - self.began
        ended = Ended(self.argv, self.child.returncode, self.text("out"), self.text("err") + hung, took)
        self.said.cleanup()
        return ended


def left_running():
    """Processes that carry our mark, but for this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if MARK.encode() in (entry / "environ").read_bytes() and (entry / "cmdline").read_bytes():
                    found.append(f"{entry.name} {(entry / 'cmdline').read_bytes().split(bytes(1))[0].decode()}")
            except OSError:
                pass
    return found


def draw_images(folder):
    """Sixty JPEG files of ten kinds, drawn by the program itself."""
    work = Path(folder).with_suffix(".work")
    work.mkdir()
    (work / "drawn.yaml").write_text(GENERATE)
    subprocess.run([PROGRAM, "run", "drawn.yaml", "-q"], cwd=work, check=True, env=environment())
    (work / "runs/drawn/images").rename(folder)
    shutil.rmtree(work)
    # Older than the scan's two seconds, as on most days; and not all of one moment.
    for at, path in enumerate(sorted(Path(folder).rglob("*.jpg"))):
        os.utime(path, (1_600_000_000 + at, 1_600_000_000 + at))
