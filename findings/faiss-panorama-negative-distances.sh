#!/usr/bin/env bash
# faiss-cpu 1.15.1: `FlatL2Panorama4` ("Flat" with levels of columns that rule rows out) returns negative squared distances. Each of 1,000
# rows is searched for itself; all find themselves, but for more than 300 of them the squared distance is below 0 (down to about -2e-4
# at 128 columns), so that its square root is NaN. IndexFlatL2 returns 0 or more for every one of the same rows, asked one by one or together.
# The same behind a rotation ("PCA128,FlatL2Panorama4"), which is how it gets fast. Callers need max(distance, 0).
set -euo pipefail
room="$(mktemp -d)"
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet --disable-pip-version-check 'faiss-cpu==1.15.1' 'numpy==2.4.6'
"$room/venv/bin/python" - <<'PYTHON'
import faiss
import numpy as np

rows = np.random.default_rng(0).standard_normal((1000, 128)).astype(np.float32)
for name in ("Flat", "FlatL2Panorama4", "PCA128,FlatL2Panorama4"):
    index = faiss.index_factory(128, name)
    index.train(rows)
    index.add(rows)
    found = [index.search(rows, 1), tuple(map(np.concatenate, zip(*[index.search(rows[i : i + 1], 1) for i in range(1000)])))]
    for asked, (squared, neighbours) in zip(("together", "one by one"), found):
        below = int((squared < 0).sum())
        print(f"{name}, {asked}: {below} of 1000 squared distances are negative, the least is {squared.min():.2g}")
        assert (neighbours[:, 0] == np.arange(1000)).all()
        assert (below == 0) if name == "Flat" else (below > 300 and squared.min() > -1e-3), "this has changed"
PYTHON
echo "as described"
