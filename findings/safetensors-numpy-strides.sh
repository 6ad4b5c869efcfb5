#!/usr/bin/env bash
# safetensors 0.8.0 with NumPy 2.4.6: `save_file` takes an array that is not C-contiguous and stores its bytes in the order of
# memory. The file has the right shape and dtype, and no error or warning is given, but `load_file` returns other values:
# a transposed [[0 1 2] [3 4 5]] comes back as [[0 1] [2 3] [4 5]] in place of [[0 3] [1 4] [2 5]], every second column as the
# first columns. The docstring asks for contiguous arrays; nothing checks. Callers need np.ascontiguousarray first.
set -euo pipefail
room="$(mktemp -d)"
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet --disable-pip-version-check 'safetensors==0.8.0' 'numpy==2.4.6'
cd "$room"
"$room/venv/bin/python" - <<'PYTHON'
import numpy as np
from safetensors.numpy import load_file, save_file

table = np.arange(6).reshape(2, 3)
wide = np.arange(12).reshape(2, 6)
given = {"transposed": table.T, "fortran": np.asfortranarray(table), "every_second": wide[:, ::2]}
save_file(given, "arrays.safetensors")
found = load_file("arrays.safetensors")
for name, array in given.items():
    print(f"{name}: saved {array.tolist()}, loaded {found[name].tolist()}")
    assert found[name].shape == array.shape
    assert not np.array_equal(found[name], array), f"{name} comes back as it was: this has changed"
assert found["transposed"].tolist() == [[0, 1], [2, 3], [4, 5]]
assert found["every_second"].tolist() == [[0, 1, 2], [3, 4, 5]]
PYTHON
echo "as described"
