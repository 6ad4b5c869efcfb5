#!/usr/bin/env bash
# pykdtree 1.4.3 has two marks for a neighbour that is missing; the docstring of `KDTree.query` says none. Where `distance_upper_bound`
# leaves too few, it is scipy's: an infinite distance and the index n. Where k is greater than the number of rows, n = 3 here, the distance
# is 1.34e+154 (the square root of the greatest float64) and the index 4294967295. So `np.isinf` and `index == n` find none
# of these, and a table of n + 1 values, padded for the index n as for scipy's cKDTree, is read outside (IndexError). scipy 1.17.1 marks both
# cases with infinity and n.
set -euo pipefail
room="$(mktemp -d)"
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet --disable-pip-version-check 'pykdtree==1.4.3' 'numpy==2.4.6' 'scipy==1.17.1'
found="$("$room/venv/bin/python" - <<'PYTHON'
import numpy as np
import pykdtree.kdtree
import scipy.spatial

rows, query = np.array([[0.0], [1.0], [4.0]]), np.array([[0.0]])
for name, tree in (("pykdtree", pykdtree.kdtree.KDTree(rows)), ("scipy", scipy.spatial.cKDTree(rows))):
    for what, settings in (("bound of 2", {"k": 3, "distance_upper_bound": 2.0}), ("k = 4", {"k": 4})):
        distances, indices = tree.query(query, **settings)
        print(f"{name}, {what}: distance {distances[0, -1]:.3g}, index {indices[0, -1]}")
PYTHON
)"
echo "$found"
test "$found" = "pykdtree, bound of 2: distance inf, index 3
pykdtree, k = 4: distance 1.34e+154, index 4294967295
scipy, bound of 2: distance inf, index 3
scipy, k = 4: distance inf, index 3"
echo "as described"
