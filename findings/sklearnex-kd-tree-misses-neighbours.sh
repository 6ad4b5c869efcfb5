#!/usr/bin/env bash
# scikit-learn-intelex 2026.2.0: `NearestNeighbors(algorithm="kd_tree")` misses nearest neighbours. Fitted with the 150 irises and asked for
# the single neighbour of each of them, it gives some irises a neighbour at a distance of up to 0.24 and not themselves, at distance 0.
# On whole numbers (a lattice of 20 x 20 x 20) a few are missed as well. No error or warning. Its "brute", and scikit-learn's own
# "kd_tree", find every one. On random numbers that never repeat in a column nothing was missed.
set -euo pipefail
room="$(mktemp -d)"
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet --disable-pip-version-check \
    'scikit-learn-intelex==2026.2.0' 'scikit-learn==1.9.1' 'numpy==2.4.6' 'scipy==1.17.1'
"$room/venv/bin/python" - <<'PYTHON'
import numpy as np
from sklearn.datasets import load_iris
from sklearn.neighbors import NearestNeighbors as Original
from sklearnex.neighbors import NearestNeighbors as Accelerated

sides = [np.arange(20.0)] * 3
sets = {
    "irises": load_iris().data,
    "lattice": np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 3),
    "random": np.random.default_rng(0).random((8000, 3)),
}
for name, rows in sets.items():
    for library, way in ((Original, "kd_tree"), (Accelerated, "brute"), (Accelerated, "kd_tree")):
        distances, _ = library(n_neighbors=1, algorithm=way).fit(rows).kneighbors(rows)
        missed = int((distances[:, 0] > 1e-6).sum())
        package = library.__module__.split(".")[0]
        print(f"{name}, {package} {way}: {missed} of {len(rows)} rows do not find themselves, farthest {distances.max():.3f}")
        wrong = package != "sklearn" and way == "kd_tree" and name != "random"
        assert (missed > 0) == wrong, "this has changed"
PYTHON
echo "as described"
