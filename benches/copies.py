#!/usr/bin/env python3
"""copies: makes a folder of as many JPEG files as asked for, of which no two are equal, from fewer photographs.

    benches/copies.py PHOTOGRAPHS TO COUNT

A copy has its original's folder and pixels, another name, and a comment of its own. The first copy of each is the file itself."""
import pathlib
import sys

ENDINGS = {".jpg", ".jpeg"}


def photographs(folder):
    """The JPEG files below a folder, in the order of their paths."""
    files = (path for path in pathlib.Path(folder).rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
    return sorted(files, key=lambda path: str(path.relative_to(folder)).encode())


def commented(jpeg, number):
    """The same picture with a comment behind its first marker."""
    return jpeg[:2] + b"\xff\xfe\x00\x04" + number.to_bytes(2, "big") + jpeg[2:]


def copies(source, to, count):
    """Makes the files, one of each photograph before the second of any, and says how many photographs they are of."""
    originals = photographs(source)
    if not originals:
        sys.exit(f"copies: no JPEG file is below {source}")
    made = []
    for number in range(count):
        original = originals[number % len(originals)]
        turn = number // len(originals)
        inside = original.relative_to(source)
        # A data set of torchvision has a folder for each kind.
        folder = to / (inside.parent if inside.parent.name else "all")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{inside.stem}-{turn:03}{inside.suffix}"
        jpeg = original.read_bytes()
        path.write_bytes(commented(jpeg, turn) if turn else jpeg)
        made.append(path)
    return made, min(count, len(originals))


if __name__ == "__main__":
    files, of = copies(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3]))
    print(f"{len(files)} files of {of} photographs")
