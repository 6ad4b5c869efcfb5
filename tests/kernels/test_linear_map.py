"""Linear maps of rows, and the nearest vector under them, against NumPy on every instruction path."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import linear_map as plain
from somknn_kernels import isa as isa_module
from somknn_kernels.ir.layout import pair_panels
from somknn_kernels.ir.shapes import panel_rows
from somknn_kernels.learn import linear_map
from somknn_kernels.tiles.row_products import AXES

PATHS = [*isa_module.supported(), "vnni-emulated"]


def _problem(seed, n, d, rank, p):
    random = np.random.default_rng(seed)
    X = random.integers(0, 256, (n, d)).astype(np.uint8)
    centre = random.integers(0, 256, d).astype(np.int16)
    limit = int(min(32767, 2**30 / 255 / d))
    axes = random.integers(-limit, limit + 1, (rank, d)).astype(np.int16)
    if seed % 3 == 0:  # sums at the limit
        X[0], centre[:], axes[0] = 255, 0, limit
    shift = int(np.clip(np.log2(limit * 80.0 * np.sqrt(d)) - 6, 0, 29))
    vectors = random.integers(0, 256, (p, rank)).astype(np.uint8)
    if p > 3:
        vectors[-1] = vectors[0]  # a tie
        X[: n // 2] = X[0]
    return X, centre, axes, shift, vectors


@pytest.mark.parametrize("name", PATHS)
@given(st.integers(0, 10**6), st.integers(1, 20), st.integers(1, 70), st.integers(1, 70), st.integers(1, 90))
def test_bytes(name, seed, n, d, rank, p):
    X, centre, axes, shift, vectors = _problem(seed, n, d, rank, p)
    isa = isa_module.select(name)
    packed = pair_panels(AXES).pack(axes)
    codes = np.full((n, rank), 7, np.uint8)
    byte_map = linear_map.ByteMap(centre, packed, shift)
    linear_map.map_bytes(isa, X, 0, n, byte_map, codes)
    np.testing.assert_array_equal(codes, plain.map_bytes(X, centre, axes, shift))
    if seed % 2:
        vectors[: min(p, n)] = codes[: min(p, n)]
    width = packed.shape[0] * packed.shape[2]
    doubled = np.zeros((p, width), np.int16)
    doubled[:, :rank] = 2 * (vectors.astype(np.int16) - 128)
    panels = pair_panels(panel_rows(isa)).pack(doubled)
    starts = np.full(panels.shape[0] * panels.shape[2], -(2**31), np.int32)
    starts[:p] = -((vectors.astype(np.int64) - 128) ** 2).sum(axis=1)
    distances, indices = np.full(n, -1, np.int64), np.full(n, -1, np.int64)
    starts = starts.reshape(panels.shape[0], -1)
    for start in range(0, n, 7):  # any split gives the same result
        stop = min(n, start + 7)
        linear_map.nearest_mapped(isa, X, start, stop, byte_map, panels, starts, distances, indices)
    wanted = plain.nearest_mapped(X, centre, axes, shift, vectors)
    np.testing.assert_array_equal(distances, wanted[0])
    np.testing.assert_array_equal(indices, wanted[1])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 40), st.integers(1, 40))
def test_floats_are_added_in_order(dtype, seed, n, d, rank):
    random = np.random.default_rng(seed)
    X = random.integers(0, 256, (n, d)).astype(dtype)
    if dtype != np.uint8:
        X += random.normal(size=(n, d)).astype(dtype)
    centre, columns = random.normal(size=d) * 100, random.normal(size=(d, rank))
    out = np.empty((n, rank))
    linear_map.map_floats(X, 0, n, centre, columns, out)
    np.testing.assert_array_equal(out, plain.map_floats(X, centre, columns))
