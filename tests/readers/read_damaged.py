"""read_damaged: what other programs do with a Parquet file of dcpipe's whose end was damaged.

    python tests/readers/read_damaged.py FILE [FILE ...]

A Parquet file ends with its footer, the footer's length and four letters. Copies of each file are cut at every 64 bytes
and at every one of the last 16, but not to nothing: an empty file is an empty table to DataFusion. Copies with one of the
last 8 bytes, or of every seventh of the footer's, changed are made as well. pandas, pyarrow, DuckDB and DataFusion read each copy. A cut one must raise an ordinary error in all of them. Of a changed
one the answers are counted: Parquet has no check of its footer, and what a reader makes of it is the reader's affair, but
that the process lives. Exit code 1 where that does not hold.
"""

import contextlib
import os
import sys
import tempfile
from pathlib import Path

from read_formats import parquet_readers


@contextlib.contextmanager
def quiet():
    """What a reader prints of its own panic is no word of ours."""
    aside = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(aside, 2)
        os.close(aside)


def answer(read):
    try:
        with quiet():
            read()
        return "answered"
    except Exception:
        return "raised"
    except BaseException as error:  # DataFusion hands a panic of Rust code on as one that is no Exception.
        if type(error).__name__ != "PanicException":
            raise
        return "broke down"


def main():
    wrong, counts = [], {}
    folder = Path(tempfile.mkdtemp(prefix="read-damaged-"))
    copy = folder / "copy.parquet"
    readers = parquet_readers(copy)
    for name in sys.argv[1:]:
        whole = Path(name).read_bytes()
        footer = int.from_bytes(whole[-8:-4], "little")
        cuts = sorted({1, *range(64, len(whole), 64), *range(len(whole) - 16, len(whole))})
        changed = sorted({*range(len(whole) - 8, len(whole)), *range(len(whole) - 8 - footer, len(whole) - 8, 7)})
        for kind, at, data in [("cut", at, whole[:at]) for at in cuts] + [
            ("changed", at, whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1:]) for at in changed
        ]:
            copy.write_bytes(data)
            for reader, read in readers.items():
                said = answer(read)
                counts[reader, kind, said] = counts.get((reader, kind, said), 0) + 1
                if kind == "cut" and said != "raised":
                    wrong.append(f"{reader} answers though {name} is cut at byte {at} of {len(whole)}")
    copy.unlink()
    folder.rmdir()
    for (reader, kind, said), count in sorted(counts.items()):
        print(f"{reader}: {count} {kind} files, {said}")
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
