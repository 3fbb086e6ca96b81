"""power: family 1 on a real file system: an ext4 goes down under a run, as by a power cut."""

import fcntl
import os
import shutil
import struct
import subprocess
import time

import oracle
from oracle import DONE
from refusals import private_mounts
from space import Space

# EXT4_IOC_SHUTDOWN of linux/ext4.h, _IOR('X', 125, __u32), and what becomes of the journal.
SHUTDOWN, FLUSHED, LOST = 0x8004587D, 1, 2
DISK = 3 << 30


def family_1(bench):
    """The rest of this family is tried on a simulated file system, in `make test`."""
    group = bench.group(1, "the power is cut at random moments of a run on ext4, and after its end",
                        "the same command resumes and ends with the same digests and results")
    why = private_mounts() or (None if shutil.which("mkfs.ext4") else "mounts: there is no mkfs.ext4")
    if why:
        group.skip(why)
        return
    disk, folder = bench.scratch / "disk", bench.scratch / "mounted"
    folder.mkdir()
    for number in range(4 if bench.quick else 48 if bench.every else 16):
        disk.unlink(missing_ok=True)
        with open(disk, "wb") as file:
            file.truncate(DISK)
        made = subprocess.run(["mkfs.ext4", "-q", "-F", disk], capture_output=True).returncode == 0
        if not made or not mounted(disk, folder):
            group.skip("mounts: no ext4 from a file here")
            return
        try:
            space = Space(folder / "space", None, sets=["epochs=1"])
            shutil.copytree(bench.images, space.folder / "images")
            subprocess.run(["sync", "-f", folder], check=True)
            journal = (FLUSHED, LOST)[number // 2 % 2]
            name, wrong = at_the_end(bench, space) if number % 2 else on_the_way(bench, space, journal)
            cut(folder, journal)  # Where it was cut before, there is nothing left to cut.
            unmount(folder)
            if not mounted(disk, folder):
                wrong.append("the disk cannot be mounted again")
            group.case(f"{name}, journal {'lost' if journal == LOST else 'written'}", wrong + bench.after(space))
        finally:
            subprocess.run(["umount", folder], check=False)


def unmount(folder):
    """A worker dies with its run, a moment after it."""
    for _ in range(100):
        if subprocess.run(["umount", folder], capture_output=True).returncode == 0:
            return
        time.sleep(0.1)
    raise RuntimeError(f"{folder} is still in use")


def mounted(disk, folder):
    return subprocess.run(["mount", "-o", "loop", disk, folder], capture_output=True).returncode == 0


def cut(folder, journal):
    """Nothing that is not on the disk comes there from now on."""
    place = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(place, SHUTDOWN, struct.pack("I", journal))
    finally:
        os.close(place)


def at_the_end(bench, space):
    ended = space.run(patience=bench.reference.patience)
    return "after its end", oracle.manner(ended, {DONE})


def on_the_way(bench, space, journal):
    """The cut comes first and the end of the process after it, so that it cannot put anything right."""
    run = space.start()
    seconds = bench.random.uniform(0, bench.reference.seconds)
    try:
        run.child.wait(seconds)
    except subprocess.TimeoutExpired:
        cut(space.folder, journal)
        run.child.kill()
    run.wait(bench.reference.patience)
    return f"after {seconds:.2f} s", []
