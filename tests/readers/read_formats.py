"""read_formats: what other programs find in dcpipe's files.

    python tests/readers/read_formats.py FOLDER [FOLDER ...]

Walks the folders, an `out/` of a run or `tests/data/formats`. Every Parquet file by itself, and every folder with Hive
partitions (`clusters/epoch=0001/part-0.parquet`) as one table, is counted by pandas, pyarrow, DuckDB and DataFusion;
every Arrow file is memory-mapped by pyarrow and handed to the other three; every safetensors file is loaded into torch
(numpy where torch is missing). Prints the rows each reader found. Exit code 1 if two disagree or one cannot read.
Needs: pyarrow pandas duckdb datafusion safetensors numpy, and torch if it is there.
"""

import sys
from pathlib import Path

import datafusion
import duckdb
import pandas
import pyarrow
import pyarrow.dataset
import pyarrow.ipc
import pyarrow.parquet

failed = False


def quoted(path):
    return "'" + str(path).replace("'", "''") + "'"


def parquet_readers(path):
    """Reader name -> a function that gives (rows, column names) of a file or a folder with partitions."""
    many = path.is_dir()
    keys = sorted({part.split("=")[0] for file in path.rglob("*.parquet") for part in file.relative_to(path).parts[:-1]}) if many else []

    def by_pandas():
        frame = pandas.read_parquet(path)
        return len(frame), list(frame.columns)

    def by_pyarrow():
        table = pyarrow.dataset.dataset(path, format="parquet", partitioning="hive" if many else None).to_table()
        return table.num_rows, table.column_names

    def by_duckdb():
        source = f"read_parquet({quoted(path / '**' / '*.parquet')}, hive_partitioning = true)" if many else quoted(path)
        result = duckdb.sql(f"SELECT * FROM {source}")
        return len(result.fetchall()), result.columns

    def by_datafusion():
        context = datafusion.SessionContext()
        partitions = [(key, pyarrow.string()) for key in keys]
        context.register_parquet("t", str(path), table_partition_cols=partitions)
        batches = context.sql("SELECT * FROM t").collect()
        names = context.sql("SELECT * FROM t").schema().names
        return sum(batch.num_rows for batch in batches), list(names)

    return {"pandas": by_pandas, "pyarrow": by_pyarrow, "duckdb": by_duckdb, "datafusion": by_datafusion}


def arrow_readers(path):
    def mapped():
        with pyarrow.memory_map(str(path)) as source:
            before = pyarrow.total_allocated_bytes()
            table = pyarrow.ipc.open_file(source).read_all()
            # pyarrow makes small things of its own; the columns it must not copy
            copied = pyarrow.total_allocated_bytes() - before
            if copied > 65536:
                raise ValueError(f"{copied} bytes were copied out of the mapped file")
        table.validate(full=True)
        return table

    def by_pyarrow():
        table = mapped()
        return table.num_rows, table.column_names

    def by_pandas():
        frame = mapped().to_pandas()
        return len(frame), list(frame.columns)

    def by_duckdb():
        table = mapped()
        if any(pyarrow.types.is_fixed_size_list(field.type) and pyarrow.types.is_float16(field.type.value_type) for field in table.schema):
            return None  # DuckDB has no half precision
        result = duckdb.from_arrow(table)
        return len(result.fetchall()), result.columns

    def by_datafusion():
        table = mapped()
        frame = datafusion.SessionContext().from_arrow(table)
        return sum(batch.num_rows for batch in frame.collect()), list(frame.schema().names)

    return {"pandas": by_pandas, "pyarrow": by_pyarrow, "duckdb": by_duckdb, "datafusion": by_datafusion}


def safetensors_readers(path):
    def by_numpy():
        from safetensors.numpy import load_file

        tensors = load_file(path)
        return len(tensors), list(tensors)

    def by_torch():
        try:
            from safetensors.torch import load_file
        except ImportError:
            return None
        tensors = load_file(path)
        return len(tensors), list(tensors)

    return {"numpy": by_numpy, "torch": by_torch}


def compare(name, readers):
    """Runs every reader; prints a line; notes whether they agree."""
    global failed
    found, line = {}, []
    for reader, read in readers.items():
        try:
            result = read()
        except Exception as error:  # whatever a reader raises is the finding
            line.append(f"{reader} FAILED: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
            failed = True
            continue
        if result is None:
            line.append(f"{reader} -")
            continue
        rows, columns = result
        found[reader] = (rows, tuple(sorted(columns)))
        line.append(f"{reader} {rows}")
    agreed = len(set(found.values())) <= 1
    failed |= not agreed
    print(f"{'ok ' if agreed and 'FAILED' not in ' '.join(line) else 'BAD'}  {name}: {', '.join(line)}")
    if not agreed:
        for reader, (rows, columns) in found.items():
            print(f"       {reader}: {rows} rows of {', '.join(columns)}")


def check(folder):
    """Every file and every partitioned folder below `folder`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        sys.exit(f"{folder}: no files")
    tables = sorted({path.parents[sum("=" in part for part in path.relative_to(folder).parts[:-1])] for path in files if path.suffix == ".parquet" and "=" in path.parent.name})
    for table in tables:
        compare(f"{table.relative_to(folder)}/ (partitioned)", parquet_readers(table))
    kinds = {".parquet": parquet_readers, ".arrow": arrow_readers, ".safetensors": safetensors_readers}
    for path in files:
        if path.suffix in kinds and not any(table in path.parents for table in tables):
            compare(str(path.relative_to(folder)), kinds[path.suffix](path))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for argument in sys.argv[1:]:
        check(Path(argument))
    sys.exit(1 if failed else 0)
