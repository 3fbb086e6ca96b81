"""answer_questions: runs every block of docs/analysis.md and compares what the tools answer.

    python tests/readers/answer_questions.py PAGE

Starts in a folder that has runs/demo. Blocks before the first question open the tables; a question's blocks answer it. A block
headed `sql` runs in DuckDB and in DataFusion; `sql TOOL` and `python TOOL` run in that tool. A Python block answers with its last
expression. Prints each question with its answer, as a JSON object a line. Exit code 1 if a block fails, if a tool has no answer,
or if two answers differ: in columns, in rows, in their order, or in a float by more than 1e-9 of it.
Needs: pandas polars duckdb datafusion pyarrow numpy.
"""

import ast
import json
import math
import sys
from pathlib import Path

import datafusion
import duckdb
import pandas
import polars

TOOLS = ["duckdb", "datafusion", "pandas", "polars"]


def blocks(page):
    """(section, language, tools, first line, code) of each fenced block."""
    section, fence, lines = "", None, []
    for number, line in enumerate(page.splitlines(), 1):
        if fence is None and line.startswith("## "):
            section = line[3:]
        elif fence is None and line.startswith("```"):
            language, _, tool = line[3:].partition(" ")
            tools = [tool] if tool else TOOLS[:2]
            if language not in ("sql", "python") or not set(tools) <= set(TOOLS) or (language == "python" and not tool):
                sys.exit(f"line {number}: no tool runs a block headed {line[3:]!r}")
            fence, lines = number + 1, []
        elif line == "```":
            yield section, language, tools, fence, "\n".join(lines)
            fence = None
        elif fence is not None:
            lines.append(line)


def run_python(code, names):
    """Runs the code; the value of its last statement if that is an expression."""
    body = ast.parse(code).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "block", "exec"), names)
    return eval(compile(ast.Expression(last.value), "block", "eval"), names) if last else None


def run_sql(code, sql):
    """Runs each statement, and returns what the last one gave."""
    result = None
    for statement in filter(str.strip, code.split(";")):
        result = sql(statement)
    return result


def answer(result):
    """Column names, and rows of plain values; NaN, which pandas has for null, is None."""
    if isinstance(result, duckdb.DuckDBPyRelation):
        names, rows = result.columns, result.fetchall()
    elif isinstance(result, datafusion.DataFrame):
        names = result.schema().names
        rows = [row for batch in result.collect() for row in zip(*(column.to_pylist() for column in batch.columns))]
    elif isinstance(result, pandas.DataFrame):
        names, rows = list(result.columns), zip(*(result[name].tolist() for name in result.columns))
    elif isinstance(result, polars.DataFrame):
        names, rows = result.columns, result.rows()
    else:
        raise TypeError(f"the block ends with no table but with {type(result).__name__}")
    plain = lambda value: None if isinstance(value, float) and math.isnan(value) else value
    return list(names), [[plain(value) for value in row] for row in rows]


def equal(one, other):
    floats = isinstance(one, float) and isinstance(other, float)
    return math.isclose(one, other, rel_tol=1e-9) if floats else type(one) is type(other) and one == other


def difference(one, other):
    """The first difference of two answers, in words."""
    (names, rows), (other_names, other_rows) = one, other
    if names != other_names:
        return f"columns {names} and {other_names}"
    if len(rows) != len(other_rows):
        return f"{len(rows)} rows and {len(other_rows)}"
    for number, (row, other_row) in enumerate(zip(rows, other_rows)):
        if not all(map(equal, row, other_row)):
            return f"row {number}: {row} and {other_row}"
    return None


def main(page):
    session = datafusion.SessionContext()
    sql = {"duckdb": duckdb.sql, "datafusion": session.sql}
    names = {tool: {} for tool in TOOLS}
    answers, failed = {}, False
    for section, language, tools, line, code in blocks(Path(page).read_text()):
        for tool in tools:
            try:
                result = run_sql(code, sql[tool]) if language == "sql" else run_python(code, names[tool])
                if section[0].isdigit():
                    answers.setdefault(section, {})[tool] = answer(result)
            except Exception as error:  # whatever a tool raises is the finding
                print(f"{page}:{line}: {tool}, {section!r}: {type(error).__name__}: {error}", file=sys.stderr)
                failed = True
    for section, found in answers.items():
        for tool in TOOLS:
            differs = "no answer" if tool not in found else difference(next(iter(found.values())), found[tool])
            if differs:
                print(f"{page}: {section!r}: {next(iter(found))} and {tool}: {differs}", file=sys.stderr)
                failed = True
        columns, rows = next(iter(found.values()))
        print(json.dumps({"question": section, "columns": columns, "rows": rows}))
    return failed


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
