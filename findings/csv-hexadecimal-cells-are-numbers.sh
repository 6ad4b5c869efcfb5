#!/usr/bin/env bash
# pyarrow 26.0.1 and DuckDB 2.0.1 read the CSV cells `0x1F` and `0x20` as the whole numbers 31 and 32, unasked; pandas 3.1.1 and polars 2.1.0
# keep the text. So a column of addresses, hashes or colours is numbers or text as the rest of the file has it: with one more row `0xG0`
# all of them are text. A model that takes numbers then takes such a column for a feature. Callers need the column's type, or have to look at
# the cells first.
set -euo pipefail
room="$(mktemp -d)"
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet --disable-pip-version-check \
    'pyarrow==26.0.1' 'pandas==3.1.1' 'numpy==2.4.6' 'duckdb==2.0.1' 'polars==2.1.0'
cd "$room"
found="$("$room/venv/bin/python" - <<'PYTHON'
import duckdb
import pandas as pd
import polars as pl
from pyarrow import csv

for cells in (["0x1F", "0x20"], ["0x1F", "0x20", "0xG0"]):
    with open("cells.csv", "w", encoding="utf-8") as file:
        file.write("\n".join(["address,size", *(f"{cell},1" for cell in cells)]) + "\n")
    print("pyarrow", csv.read_csv("cells.csv")["address"].to_pylist())
    print("DuckDB", [row[0] for row in duckdb.sql("select address from read_csv('cells.csv')").fetchall()])
    print("pandas", pd.read_csv("cells.csv")["address"].tolist())
    print("polars", pl.read_csv("cells.csv")["address"].to_list())
PYTHON
)"
echo "$found"
test "$found" = "pyarrow [31, 32]
DuckDB [31, 32]
pandas ['0x1F', '0x20']
polars ['0x1F', '0x20']
pyarrow ['0x1F', '0x20', '0xG0']
DuckDB ['0x1F', '0x20', '0xG0']
pandas ['0x1F', '0x20', '0xG0']
polars ['0x1F', '0x20', '0xG0']"
echo "as described"
