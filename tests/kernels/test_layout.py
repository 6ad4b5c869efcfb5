"""Layouts: what is packed comes back, and lies where the drawing in `ir.layout` says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from somknn_kernels import isa as isa_module
from somknn_kernels.ir import layout
from somknn_kernels.ir.layout import Layout

PATHS = [*isa_module.supported(), "vnni-emulated"]
OF_THE_TILES = (
    layout.byte_queries,
    layout.byte_panels,
    layout.float_queries,
    layout.float_panels,
    layout.scan_queries,
    layout.scan_panels,
)


def test_the_drawing():
    rows = np.arange(16).reshape(4, 4)
    np.testing.assert_array_equal(
        Layout(4, 2, np.int16).pack(rows),
        [[[[0, 1], [4, 5], [8, 9], [12, 13]], [[2, 3], [6, 7], [10, 11], [14, 15]]]],
    )


def test_copies_lift_and_parts():
    rows = np.arange(16).reshape(2, 8)
    packed = Layout(2, 2, np.int8, lift=-3, copies=2, parts=4).pack(rows)
    assert packed.shape == (4, 1, 1, 2, 4)
    np.testing.assert_array_equal(packed[1, 0, 0], [[-1, 0, -1, 0], [7, 8, 7, 8]])


@given(
    n=st.integers(0, 20),
    d=st.integers(1, 40),
    rows=st.integers(1, 8),
    group=st.sampled_from([1, 2, 4]),
    lift=st.integers(-60, 60),
    copies=st.integers(1, 2),
    parts=st.sampled_from([1, 3, 4]),
    multiple=st.sampled_from([1, 4, 32]),
)
def test_what_is_packed_comes_back(n, d, rows, group, lift, copies, parts, multiple):
    one = Layout(rows, group, np.int8, lift, copies, parts, multiple)
    values = np.random.default_rng(n * 41 + d).integers(-60, 60, (n, d))
    packed = one.pack(values)
    assert packed.shape == one.shape(n, d)
    if packed.size and layout.aligned is not np.zeros:  # guarded arrays begin where they must to end at a page
        assert packed.ctypes.data % 64 == 0
    assert one.width(d) % multiple == 0
    np.testing.assert_array_equal(one.unpack(packed, n, d), values)
    room = packed.size // (rows * copies * one.width(d)) * rows
    beyond = one.unpack(packed, room, one.width(d))
    assert not beyond[n:].any()
    assert not beyond[:, d:].any()


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("of", OF_THE_TILES)
def test_a_broadcast_or_a_lane_takes_four_bytes_or_a_pair(name, of):
    one = of(isa_module.select(name))
    size = one.group * one.copies * np.dtype(one.dtype).itemsize
    assert size == 4 or (of is layout.scan_panels and size == 2)
    values = np.random.default_rng(0).integers(0, 90, (13, 37))
    np.testing.assert_array_equal(one.unpack(one.pack(values), 13, 37), values)
