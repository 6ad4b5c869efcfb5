#!/usr/bin/env bash
# safetensors 0.4.3: a file of no tensors, with metadata alone, is written without an error and cannot be read again. Its JSON
# header is {},"__metadata__":{...}}: the empty object is closed before the metadata. 0.4.4 writes {"__metadata__":{...}}
# and reads it.
# A model whose whole state is its parameters (a scaler without fitted values, an image filter) is such a file.
# Prints what was seen and fails if that has changed.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"

cat >"$folder/see.py" <<'PY'
import sys

from safetensors import safe_open
from safetensors.numpy import save_file

path = sys.argv[1]
save_file({}, path, metadata={"name": "blur"})
with open(path, "rb") as file:
    size = int.from_bytes(file.read(8), "little")
    print("header:", file.read(size).decode().strip())
try:
    with safe_open(path, framework="np") as found:
        print("read:", found.metadata())
except Exception as error:
    print("refused:", type(error).__name__)
PY

for version in 0.4.3 0.4.4; do
    "$folder/env/bin/pip" install --quiet "numpy==2.0.2" "safetensors==$version" >/dev/null
    "$folder/env/bin/python" "$folder/see.py" "$folder/$version.safetensors" | sed "s/^/$version /" | tee -a "$folder/seen"
done
grep -q '^0.4.3 refused: SafetensorError$' "$folder/seen"
grep -q "^0.4.4 read: {'name': 'blur'}$" "$folder/seen"
