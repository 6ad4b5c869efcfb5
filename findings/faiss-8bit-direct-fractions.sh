#!/usr/bin/env bash
# faiss-cpu 1.15.1: whether an index of type QT_8bit_direct ("SQ8_direct") counts the fractions of a query depends on the number of
# columns. Rows are whole numbers, and each query is a row with 0.75 added to every column, so that its squared distance to that row is 0.5625
# for each column. At 12 and 24 columns that is what the search returns (6.75 and 13.5); at 16 and 32 columns it returns exactly 0, as if query
# and row were equal: there queries are cut to whole numbers and compared byte with byte. Neighbours are then those of other
# queries. The same with FAISS_SIMD_LEVEL set to AVX2; with NONE fractions count at every width.
set -euo pipefail
room="$(mktemp -d)"
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet --disable-pip-version-check 'faiss-cpu==1.15.1' 'numpy==2.4.6'
cat > "$room/distances.py" <<'PYTHON'
import faiss
import numpy as np

for columns in (12, 16, 24, 32):
    rows = np.random.default_rng(0).integers(0, 255, (500, columns)).astype(np.float32)
    index = faiss.IndexScalarQuantizer(columns, faiss.ScalarQuantizer.QT_8bit_direct)
    index.add(rows)
    distance = float(index.search(rows[:1] + np.float32(0.75), 1)[0][0, 0])
    print(f"{columns} columns: squared distance {distance}, true {0.5625 * columns}")
PYTHON
found="$("$room/venv/bin/python" "$room/distances.py")"
echo "$found"
test "$found" = "12 columns: squared distance 6.75, true 6.75
16 columns: squared distance 0.0, true 9.0
24 columns: squared distance 13.5, true 13.5
32 columns: squared distance 0.0, true 18.0"
echo "as described"
