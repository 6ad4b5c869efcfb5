#!/usr/bin/env bash
# pyarrow 26.0.1: `csv.read_csv` makes a column of whole numbers float64, without a word, where one cell has a plus sign or is beyond int64. Then
# every number beyond 2^53 in it loses digits: the ids 9007199254740993 and 9007199254740992 become equal. pandas 3.1.1 and
# DuckDB 2.0.1 keep all digits of the ids beyond int64 (uint64, Python's or 128-bit integers), and pandas those with a sign.
# Callers need `column_types` for such columns, or text for ids.
set -euo pipefail
room="$(mktemp -d)"
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet --disable-pip-version-check \
    'pyarrow==26.0.1' 'pandas==3.1.1' 'numpy==2.4.6' 'duckdb==2.0.1'
cd "$room"
"$room/venv/bin/python" - <<'PYTHON'
import duckdb
import pandas as pd
from pyarrow import csv

IDS = [9007199254740993, 9007199254740992]


def read(lines):
    with open("ids.csv", "w", encoding="utf-8") as file:
        file.write("\n".join(["id", *lines]) + "\n")
    by_duckdb = [row[0] for row in duckdb.sql("select * from read_csv('ids.csv')").fetchall()]
    return csv.read_csv("ids.csv")["id"].to_pylist(), pd.read_csv("ids.csv")["id"].tolist(), by_duckdb


plain = [str(number) for number in IDS]
for what, lines in (("plain", plain), ("plus sign", [*plain, "+5"]), ("beyond int64", [*plain, str(2**64 - 1)])):
    by_pyarrow, by_pandas, by_duckdb = read(lines)
    print(f"{what}: pyarrow {by_pyarrow[:2]}, pandas {by_pandas[:2]}, DuckDB {by_duckdb[:2]}")
    assert by_pandas[:2] == IDS
    if what != "plus sign":  # DuckDB takes those for text
        assert by_duckdb[:2] == IDS
    if what == "plain":
        assert by_pyarrow == IDS
    else:
        assert by_pyarrow[:2] == [9007199254740992.0, 9007199254740992.0], "they keep their digits: this has changed"
        assert all(isinstance(number, float) for number in by_pyarrow)
PYTHON
echo "as described"
